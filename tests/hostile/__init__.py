"""Hostile and odd bytes from either side, as one table of cases and a few stories: what each side gets, byte for byte."""
