"""Where this machine itself listens, as its kernel says: /proc/net/tcp (proc(5)). Elsewhere than on Linux, nothing."""

import ipaddress
import socket
from collections.abc import Iterator

_FILES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING = "0A"  # TCP_LISTEN


def listening_on(port: int) -> set[str]:
    """Return the addresses on which anybody listens on the port."""
    return {address for path in _FILES for address, found in _listeners(path) if found == port}


def _listeners(path: str) -> Iterator[tuple[str, int]]:
    try:
        with open(path, encoding="ascii") as file:
            rows = file.read().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        _, local, _, state, *_ = row.split()
        address, _, port = local.partition(":")
        if state == _LISTENING:
            yield _address(address), int(port, 16)


def _address(text: str) -> str:
    """An address, as the kernel writes it: 32-bit words in its own byte order, which is the little-endian one."""
    data = bytes.fromhex(text)
    words = (data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return str(ipaddress.ip_address(b"".join(words)))


def is_ours(host: str) -> bool:
    """Whether the address or name is one of this machine: only then can something be bound to it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind(address)
    except OSError:
        return False
    return True
