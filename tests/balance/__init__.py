"""Tests of the `balance` room; no clock, no sockets, no sleep."""
