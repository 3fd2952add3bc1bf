"""One port in front of several slow HTTP services: each request goes to whichever is free.

The flow of a request through the rooms: `relay` accepts it, `wire` says what its bytes mean, `balance` says
who serves it, `relay` moves the bytes, `ops` writes it down. `app` wires the rooms; `cli` is the front door.
"""

__version__ = "0.1.0"
