"""Hostile and odd bytes from either side: one table of cases and a few stories, byte for byte."""
