"""A service that takes uploads slowly: a thread a connection, a small receive buffer, a pause after each piece.

Answers with the sha256 of the body. Arguments: bytes a piece, seconds a pause. Understands Content-Length only.
"""

import hashlib
import re
import socket
import sys
import threading
import time

RECEIVE_BUFFER_BYTES = 64 * 1024


def serve(sock: socket.socket, piece: int, pause_s: float) -> None:
    """Answer requests on one connection until the other side closes."""
    with sock, sock.makefile("rb", buffering=RECEIVE_BUFFER_BYTES) as stream:
        while head := read_head(stream):
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            left = int(length[1]) if length else 0
            digest = hashlib.sha256()
            while left:
                data = stream.read(min(piece, left))
                if not data:
                    return
                digest.update(data)
                left -= len(data)
                time.sleep(pause_s)
            content = digest.hexdigest().encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


def read_head(stream: "socket.SocketIO") -> bytes:  # type: ignore[type-arg]
    """Everything up to the empty line; empty when the other side closed."""
    head = b""
    while (line := stream.readline()) not in (b"\r\n", b""):
        head += line
    return head


def main() -> None:
    """Listen on any port, say which, serve for ever."""
    piece, pause_s = int(sys.argv[1]), float(sys.argv[2])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, piece, pause_s), daemon=True).start()


if __name__ == "__main__":
    main()
