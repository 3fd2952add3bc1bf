"""The listening sockets of a start, and what stays of them if it fails."""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ocr_tcp_lb import doors
from ocr_tcp_lb.config import Config, TcpAddress, UnixAddress
from ocr_tcp_lb.doors import open_doors
from ocr_tcp_lb.relay.sockets import ListenError


def test_clients_may_have_the_port_that_the_status_page_has_by_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = TcpAddress("127.0.0.1", free.getsockname()[1])
    monkeypatch.setattr(doors, "DEFAULT_ADMIN", address)
    with caplog.at_level(logging.WARNING):
        opened = open_doors(replace(Config(), listen=(address,), admin=address))
    try:
        assert [sock.getsockname() for sock in opened.clients] == [("127.0.0.1", address.port)]
        assert not opened.admin
        assert f"{address}" in caplog.text
    finally:
        opened.close()


def test_start_that_is_refused_leaves_no_socket_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = TcpAddress("127.0.0.1", taken.getsockname()[1])
        for config in (
            replace(Config(), listen=(UnixAddress(str(path)), address), admin=None),
            replace(Config(), listen=(UnixAddress(str(path)),), admin=address),
        ):
            with pytest.raises((ListenError, doors.AdminError), match="already in use"):
                open_doors(config)
            assert not path.exists()
