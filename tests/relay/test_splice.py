"""Pipes: lent empty, few, and closed when they come back with bytes in them."""

import errno
import socket
import sys

import pytest

from ocr_tcp_lb.relay import splice
from ocr_tcp_lb.relay.splice import HAS_SPLICE, Pipe, Pipes

from .support import open_descriptors, pattern, replaces_a_part

pytestmark = pytest.mark.skipif(not HAS_SPLICE, reason="this platform has no splice")


def test_empty_pipe_is_lent_again() -> None:
    pipes = Pipes()
    pipe = pipes.borrow()
    assert pipe is not None
    pipes.give_back(pipe)
    assert pipes.borrow() is pipe
    pipes.give_back(pipe)
    pipes.close()


def test_pipe_with_bytes_in_it_is_never_lent_to_somebody_else() -> None:
    before = open_descriptors()
    pipes = Pipes(most=1)
    pipe = pipes.borrow()
    assert pipe is not None
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"secret")
        assert pipe.fill_from(ours.fileno(), 100) == 6
        pipes.give_back(pipe)
        other = pipes.borrow()
        assert other is not None
        assert other is not pipe
        assert other.fill == 0
        pipes.give_back(other)
    pipes.close()
    assert open_descriptors() == before


def test_pipes_are_few() -> None:
    pipes = Pipes(most=2)
    lent = [pipes.borrow() for _ in range(3)]
    assert lent[2] is None
    for pipe in lent[:2]:
        assert pipe is not None
        pipes.give_back(pipe)
    pipes.close()


def test_no_pipes_at_all_where_there_is_no_splice() -> None:
    assert Pipes(most=0).borrow() is None


@replaces_a_part
@pytest.mark.parametrize(("code", "asks"), [(errno.EPERM, 1), (errno.EMFILE, 2)])
def test_refused_pipe_means_copying(monkeypatch: pytest.MonkeyPatch, code: int, asks: int) -> None:
    asked = []

    def refuse(size: int) -> Pipe:
        asked.append(1)
        raise OSError(code, "no")

    monkeypatch.setattr(splice, "Pipe", refuse)
    pipes = Pipes()
    assert pipes.borrow() is None
    assert pipes.borrow() is None
    assert len(asked) == asks, "a limit of the user is final, running out of descriptors is not"


def test_pipe_whose_size_is_refused_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "no")

    before = open_descriptors()
    monkeypatch.setattr(splice.fcntl, "fcntl", refuse)
    with pytest.raises(PermissionError):
        Pipe()
    assert open_descriptors() == before


def test_bytes_pass_a_pipe_in_order() -> None:
    pipe, data, got = Pipe(), pattern(300_000), b""
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    with a, b, c, d:
        for start in range(0, len(data), 50_000):
            a.sendall(data[start : start + 50_000])
            while len(got) < start + 50_000:
                pipe.fill_from(b.fileno(), 1 << 20)
                while pipe.fill:
                    pipe.drain_into(c.fileno())
                    got += d.recv(1 << 20)
        assert got == data
        a.close()
        assert pipe.fill_from(b.fileno(), 100) == 0
    pipe.close()


@replaces_a_part
def test_no_tee_where_a_sandbox_refuses_ctypes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (splice._find_tee() is None) == (not splice.HAS_TEE)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert splice._find_tee() is None
