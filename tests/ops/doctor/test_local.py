"""What the kernel says about this machine's own listening sockets."""

import socket
import sys

import pytest

from ocr_tcp_lb.ops.doctor.local import is_ours, listening_on


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from Linux's /proc")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")]
)
def test_listening_socket_is_found_by_its_port(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
        assert host not in listening_on(port), "bound, not listening"
        sock.listen()
        assert host in listening_on(port)


def test_addresses_of_this_machine_are_told_from_others() -> None:
    assert is_ours("127.0.0.1")
    assert is_ours("localhost")
    assert not is_ours("192.0.2.1")  # RFC 5737: nobody's
