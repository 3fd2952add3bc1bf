"""The client's side of a connection: its channel, what it sent ahead, its deadline, and whether it is still there.

Nothing here waits; conversations that take time are in `talk`.

Bytes that arrive ahead of their time (pipelined requests) wait in `inbox`, at most one head limit of them.
"""

import functools
import ipaddress
import socket
import time
from collections.abc import Callable

from ocr_tcp_lb.config import plain_address
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.deadlines import NEVER
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.wire.fields import list_members
from ocr_tcp_lb.wire.head import Hop, RequestHead
from ocr_tcp_lb.wire.proxy_protocol import Endpoint

LOOK_AGAIN_S = 0.25
MOST_PROXIES = 16  # before us; who names more is not followed further
FIRST_BYTE = b"H"  # the first byte of every reply that there is: HTTP/1.1 ...
HOPS_KNOWN = 4096
LOOKED_AFTER_S = (0.02, 0.2, 1.0, 5.0)  # a reset comes one round trip after the probe; at once on loopback


def is_address(text: str) -> bool:
    """Whether the text is an IP address, without a zone, in which anything might stand."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


@functools.lru_cache(HOPS_KNOWN)
def hop_of(address: str, trusted: bool) -> Hop:
    """What a request of this client carries; connections from one address share it, which saves 0.2 KiB each."""
    return Hop(address.encode("ascii", "replace"), trusted, b"http", b"localhost")


class Client:
    """A connected client and the wake-up of the one coroutine that serves it; guarded by the deadline sweep."""

    __slots__ = (
        "_endpoints",
        "_half_closed",
        "_hub",
        "_looks_again",
        "address",
        "ahead",
        "channel",
        "counted_as",
        "deadline",
        "expired",
        "hop",
        "inbox",
        "on_hang_up",
        "wakeup",
    )

    def __init__(self, hub: Hub, sock: socket.socket, address: str) -> None:
        self._hub = hub
        self.address = address
        self.wakeup = Wakeup(hub.loop)
        self.channel = Channel(hub.poller, sock, self.wakeup)
        self.hop = hop_of(address, hub.config.trusted_proxies.trusts(address))
        self.inbox = b""
        self.deadline = NEVER
        self.expired = False
        self.counted_as: str | None = None  # the address in whose count of connections it stands
        self.on_hang_up: Callable[[Client], None] | None = None  # told when the connection is closed
        self.ahead = 0  # how many bytes of the reply that comes next went out already, see `_sound_out`
        self._half_closed = False
        self._looks_again = False  # a look is due
        self._endpoints: tuple[Endpoint | None, Endpoint | None] | None = None  # as a proxy said

    def __repr__(self) -> str:
        return f"<Client {self.address} {self.channel!r}>"

    def introduce(self, source: Endpoint, destination: Endpoint | None, *, trusted: bool) -> None:
        """A trusted proxy said who the client is; `trusted` is whether that one may speak for others in turn."""
        self._endpoints = (source, destination)
        self.address = source.address
        self.hop = hop_of(self.address, trusted)

    def endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        """Both ends of the client's connection, as a proxy said or as the socket knows; None where unknown."""
        if self._endpoints is not None:
            return self._endpoints
        sock = self.channel.sock
        if sock.family == socket.AF_UNIX:
            return None, None
        try:
            peer, own = sock.getpeername(), sock.getsockname()
        except OSError as error:
            raise ClientGone(str(error)) from error
        return Endpoint(plain_address(peer[0]), peer[1]), Endpoint(plain_address(own[0]), own[1])

    def asker(self, head: RequestHead) -> str:
        """Whose request it is: the client's, or if that is a trusted proxy, whom X-Forwarded-For names.

        From its right end, the first address that is no trusted proxy's, as nginx's real_ip_recursive has it. Where no
        address stands, nothing is believed further.
        """
        asker = self.address
        if self.hop.trusted:
            trusts = self._hub.config.trusted_proxies.trusts
            for member in reversed(list_members([head.value(b"x-forwarded-for")])[-MOST_PROXIES:]):
                name = member.decode("latin-1")
                if not is_address(name):
                    break
                asker = plain_address(name)
                if not trusts(name):
                    break
        return asker

    def allow(self, seconds: float, now: float | None = None) -> None:
        """Set the deadline this far from now; `now` is for who knows the time."""
        self.deadline = (time.monotonic() if now is None else now) + seconds
        self.expired = False

    def shorten(self, allowed_s: float, seconds: float) -> None:
        """Count `seconds` instead of `allowed_s` from when the present deadline was set, if that ends sooner."""
        began = min(self.deadline - allowed_s, time.monotonic())
        self.deadline = min(self.deadline, began + seconds)

    def notice_departure(self) -> None:
        """While the client has nothing to do but wait, see whether it still does.

        What it sends ahead is kept. Raises ClientGone when it closed or broke off.
        """
        channel = self.channel
        room = self._hub.limits.head_bytes
        if self._half_closed:
            self._ask_for_reset()
            return
        while channel.readable and len(self.inbox) < room:
            try:
                received = channel.receive_into(scratch_view[: room - len(self.inbox)])
            except OSError as error:
                raise ClientGone(str(error)) from error
            if received is None:
                return
            if received == 0:
                self._sound_out()
                return
            self.inbox += bytes(scratch_view[:received])
        if channel.readable:  # there is no room for more
            self.notice_reset()

    def _sound_out(self) -> None:
        """The client has ended its sending half: find out whether it still reads.

        A client that has left and one that waits for its reply after a half-close look the same until something new
        is sent: only the former's kernel answers with a reset. (Keep-alive probes it acknowledges, as Linux does for
        a closed socket in FIN-WAIT-2.) Whatever the reply will be, its first byte is known, so that byte goes ahead:
        of whoever waits, HTTP/1.0 clients too, nobody is told anything that would not have come anyway.
        """
        self._half_closed = True
        try:
            self.ahead = self.channel.send(FIRST_BYTE)  # 0: it did not read the reply before; this one will tell
        except OSError as error:
            raise ClientGone(str(error)) from error
        self._ask_for_reset()
        for delay_s in LOOKED_AFTER_S:
            self._hub.loop.call_later(delay_s, self.wakeup.fire)
        self._hub.loop.call_later(LOOKED_AFTER_S[-1], self._keep_looking)

    def _keep_looking(self) -> None:
        if not self.channel.is_closed:
            self._hub.loop.call_later(LOOKED_AFTER_S[-1], self._keep_looking)
            self.wakeup.fire()

    def notice_break(self, *, or_end: bool) -> None:
        """While its reply is under way: see whether it broke off, and with `or_end` whether it ended its sending half.

        No byte can go ahead now to find out who has left and who only half-closed. What the client sent ahead stays
        where it is; an end behind that is not seen. Raises ClientGone.
        """
        channel = self.channel
        if not self._half_closed:
            try:
                ahead = channel.sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                channel.readable = False
                return
            except OSError as error:
                raise ClientGone(str(error)) from error
            self._half_closed = not ahead
            if or_end and not ahead:
                raise ClientGone("the client closed")
        self._ask_for_reset()

    def notice_reset(self) -> None:
        """While bytes that are not to be read yet hide the client's end: see at least whether it broke off.

        Fires the wake-up for another look after a while. Raises ClientGone.
        """
        self._ask_for_reset()
        self.look_again()

    def look_again(self) -> None:
        """Fire the wake-up after a while, where nothing else might; one such look is due at a time."""
        if not self._looks_again:
            self._looks_again = True
            self._hub.loop.call_later(LOOK_AGAIN_S, self._look)

    def _look(self) -> None:
        self._looks_again = False
        self.wakeup.fire()

    def _ask_for_reset(self) -> None:
        error = self.channel.connection_error()
        if error is not None:
            raise ClientGone(str(error))

    def break_off(self) -> None:
        """Hang up with a reset, so that a reply which was cut short can't pass for one that ended."""
        if not self.channel.is_closed:
            self.channel.reset_on_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket; the deadline is watched on, for the sake of a ghost, until `close`. Safe to call twice."""
        self.channel.close()
        if self.on_hang_up is not None:
            self.on_hang_up(self)

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._hub.deadlines.release(self)
        self.hang_up()

    def hurry(self) -> None:
        """The balancer is draining: whoever waits for a next request, or for a ghost, looks up and ends."""
        self.wakeup.fire_soon()
