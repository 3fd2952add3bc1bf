"""A unix socket that systemd opened and passed is systemd's: its file is there after the service has stopped."""

import socket
from pathlib import Path

from ocr_tcp_lb.relay.server import Server

from .support import House


async def test_passed_unix_socket_keeps_its_file(house: House, tmp_path: Path) -> None:
    lb = house.balancer([house.backend()])
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as systemds:
        systemds.bind(str(path))
        systemds.listen()
        ours = systemds.dup()
        ours.setblocking(False)
        server = Server(lb.hub, [ours], owns_files=False)
        await server.drain(1)
    assert path.exists()
