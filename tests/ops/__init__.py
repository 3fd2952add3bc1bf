"""Tests of how the balancer is run and watched."""
