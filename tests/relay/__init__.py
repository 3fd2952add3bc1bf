"""Tests of the relay: real sockets, and peers that speak exactly the bytes that a test tells them to."""
