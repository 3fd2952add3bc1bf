"""Benchmarks: `python -m bench` measures the balancer beside its peers; see README.md here."""
