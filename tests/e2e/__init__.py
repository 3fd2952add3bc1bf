"""End to end: the balancer through its command line, between clients and services that people really run."""
