"""Workers that are killed, stopped, restarted and made to misbehave under load; afterwards every count must agree."""
