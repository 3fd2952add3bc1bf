"""Moves the bytes: every socket of the balancer lives in this room, and no decision does.

In the order in which a request meets them: `listener` accepts, `client` leads one connection through its
requests, `upload` holds what the client sent, `upstream` connects to the chosen backend, `exchange` pumps both
ways until the reply has ended, `flow`, `splice` and `tunnel` move single bodies and whole connections. `hub`
holds what all connections share.
"""
