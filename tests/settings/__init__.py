"""Tests of how an operator's words become a configuration."""
