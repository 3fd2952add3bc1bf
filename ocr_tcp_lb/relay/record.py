"""What is known of one exchange when it has ended: the facts for the access log and the counters."""


class Record:
    """One request and what became of it; times are monotonic seconds, 0.0 where a phase was not reached.

    Defaults live in the class, so that making one costs only what is set (0.3 us against 1 us for slots).
    """

    status: int = 0  # 0: the client got no status line
    bytes_in: int = 0  # of the body as it was sent, a chunked one with its framing: taken from the client
    bytes_out: int = 0  # and given to it
    backend: str = "-"
    attempts: int = 0
    began: float = 0.0  # the head was complete
    asked: float = 0.0  # a lease was asked for
    leased: float = 0.0
    connected: float = 0.0
    answered: float = 0.0  # the first byte of the final reply
    ended: float = 0.0
    ending: str = "ok"  # or an error code, `client_left`, `broken_reply`, `tunnel`, `cancelled`, `internal_error`

    def __init__(self, client: str, request_id: bytes, method: bytes = b"-", target: bytes = b"-") -> None:
        self.client = client
        self.request_id = request_id
        self.method = method
        self.target = target

    def __repr__(self) -> str:
        return (
            f"<Record {self.request_id!r} {self.method!r} {self.target!r} {self.status} {self.backend} {self.ending}>"
        )
