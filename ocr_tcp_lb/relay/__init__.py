"""Moves the bytes: the sockets of clients and backends live in this room; who serves whom is decided in `balance`.

In the order in which a request meets them: `listener` accepts, `session` leads one `client` through its requests,
`heads` reads each, `gathering` and `upload` take in its body, which waits in `buffers` or, if it is large, in a
`reservoir`; `claim` asks for a backend, `upstream` keeps connections to it, `exchange` makes attempts until one has its
reply, `flow`, `splice` and `tunnel` move single bodies and whole connections. `hub` holds what all connections share,
`poller` watches their sockets. What waits (`session`, `waiting`, `talk`, `connecting`, `exchange`, `attempt` and a few
more) calls what acts at once, and never the other way round.
"""
