"""Random input that stays: whatever is thrown at the parsers and at an exchange, the invariants hold."""
