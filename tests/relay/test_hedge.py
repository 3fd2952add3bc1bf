"""A second backend is asked when the first is silent for unusually long; the first whole reply wins."""

import asyncio
import time

import pytest

from bench.ports import free_port
from ocr_tcp_lb.config import BackendConfig, Limits, Timeouts

from .support import GET, OK, Balancer, House, Peer, chunked, pattern, post, reply, until

LEAST_S = 0.05
SOON = Timeouts(connect_s=0.2)  # the sweep keeps limits to a tenth of the shortest
SMALL = Limits(reply_buffer_bytes=1000)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.hedge.LEAST_S", LEAST_S)


class Scene:
    """Two backends, a client, and a request that the first of them has, and is silent about."""

    def __init__(self, house: House, **more: object) -> None:
        self.backends = [house.backend(), house.backend()]
        configs = [one.config(f"b{number}", concurrency=1) for number, one in enumerate(self.backends, 1)]
        config: dict[str, object] = {"hedge": True, "timeouts": SOON, "policy": "round-robin"}
        self.lb = house.balancer(configs, **config | more)
        self.lb.hub.fleet.patience.note(0.001)

    async def begin(self, request: bytes = GET, *, has_second: bool = True) -> None:
        """Until both have the request."""
        self.client = await self.lb.client()
        await self.client.send(request)
        self.first = await self.backends[0].accept()
        self.request = await self.first.read_message()
        if has_second:
            self.second = await self.backends[1].accept()
            assert (await self.second.read_message()).body == self.request.body

    async def freed(self) -> None:
        """Until no slot is taken."""
        await until(lambda: self.lb.in_flight() == 0)


async def test_reply_of_the_second_is_given_while_the_first_is_silent(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    await scene.second.send(reply(b"two"))
    assert (await scene.client.read_message()).body == b"two"
    record = await scene.lb.record()
    assert (record.status, record.backend, record.attempts, record.ending) == (200, "b2", 2, "ok")
    assert record.began <= record.leased <= record.connected <= record.answered <= record.ended
    assert record.leased - record.began >= LEAST_S, "the silence of the first is no time of the second"
    assert record.leased - record.asked < LEAST_S, "nor was it a wait for a slot"
    assert scene.lb.hub.fleet.hedges == 1
    assert [one.in_flight for one in scene.lb.hub.fleet.backends] == [1, 0], "the first still computes"
    await scene.first.send(reply(b"one"))
    await scene.freed()
    assert await scene.first.ended()
    await scene.client.send(GET)  # and the connection goes on
    await scene.second.read_message()
    await scene.second.send(reply(b"next"))
    assert (await scene.client.read_message()).body == b"next"


async def test_sweep_that_comes_in_the_very_millisecond_hedges(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.hedge.LEAST_S", LEAST_S + 0.0004)
    scene = Scene(house)
    await scene.begin(has_second=False)
    (client,) = scene.lb.server._clients
    deadlines = scene.lb.hub.deadlines
    assert deadlines._timer is not None
    deadlines._timer.cancel()
    while time.monotonic() < client.deadline:
        pass
    deadlines._sweep()
    second = await scene.backends[1].accept()
    await second.read_message()
    await second.send(OK)
    assert (await scene.client.read_message()).status == 200
    await scene.first.send(OK)
    await scene.freed()


async def test_reply_of_the_first_is_given_when_it_comes_first(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    await scene.second.send(reply(b"two")[:-1])
    await scene.first.send(reply(b"one"))
    assert (await scene.client.read_message()).body == b"one"
    record = await scene.lb.record()
    assert (record.backend, record.attempts) == ("b1", 2)
    await scene.freed()  # the second has begun its reply, so it is done
    assert await scene.second.ended()
    scene.lb.hub.drain(scene.lb.hub.fleet.backends[1])
    await scene.client.send(GET)  # and both connections of the first go on
    assert (await scene.first.read_message()).start == b"GET / HTTP/1.1"
    await scene.first.send(OK)
    await scene.client.read_message()


async def test_loser_is_cut_off_where_it_notices(house: House) -> None:
    scene = Scene(house)
    for name in ("b1", "b2"):
        backend = next(one for one in scene.lb.hub.fleet.backends if one.name == name)
        was = scene.lb.upstream(name).config
        scene.lb.hub.adopt(backend, BackendConfig(name, was.host, was.port, concurrency=1, abandon="cancel"))
    await scene.begin()
    await scene.second.send(OK)
    await scene.client.read_message()
    assert await scene.first.ended()
    await scene.freed()


@pytest.mark.parametrize("size", [0, 5, 300_000])
async def test_post_is_hedged_where_the_operator_allows_it(house: House, size: int) -> None:
    scene = Scene(house, replay_post=True)
    await scene.begin(post(pattern(size)))
    assert scene.request.body == pattern(size)
    await scene.second.send(reply(b"two"))
    assert (await scene.client.read_message()).body == b"two"
    assert (await scene.lb.record()).bytes_in == size
    await scene.first.send(OK)
    await scene.freed()


@pytest.mark.parametrize(
    ("request_bytes", "more"),
    [
        (post(b"image"), {}),
        (GET, {"hedge": False}),
        (GET, {"retries": 0}),
        (post(pattern(300_000)), {"replay_post": True, "limits": Limits(request_buffer_bytes=1000)}),
    ],
    ids=["may run once", "off", "no retries", "streamed"],
)
async def test_what_is_not_to_be_hedged_is_not(house: House, request_bytes: bytes, more: dict[str, object]) -> None:
    scene = Scene(house, **more)
    await scene.begin(request_bytes, has_second=False)
    await asyncio.sleep(4 * LEAST_S)
    assert not scene.backends[1].has_caller()
    await scene.first.send(OK)
    assert (await scene.client.read_message()).status == 200
    assert (await scene.lb.record()).attempts == 1


async def test_nobody_is_hedged_before_the_first_reply_or_the_usual_time(house: House) -> None:
    scene = Scene(house)
    scene.lb.hub.fleet.patience.note(100.0)
    await scene.begin(has_second=False)
    await asyncio.sleep(4 * LEAST_S)
    assert not scene.backends[1].has_caller()
    await scene.first.send(OK)
    await scene.client.read_message()
    await scene.freed()


async def test_second_is_asked_as_soon_as_it_has_a_slot_for_which_nobody_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocr_tcp_lb.relay.hedge.LOOK_AGAIN_S", 0.02)
    scene = Scene(house)
    scene.lb.hub.drain(scene.lb.hub.fleet.backends[1])
    await scene.begin(has_second=False)
    await asyncio.sleep(3 * LEAST_S)
    assert not scene.backends[1].has_caller()
    scene.lb.hub.undrain(scene.lb.hub.fleet.backends[1])
    scene.backends[1].answer(lambda request: reply(b"two"))
    assert (await scene.client.read_message()).body == b"two"
    await scene.first.send(OK)
    await scene.freed()


async def fail(peer: Peer, how: str) -> None:
    match how:
        case "close":
            peer.close()
        case "reset":
            peer.reset()
        case "nonsense":
            await peer.send(b"nonsense\r\n\r\n")
        case "half a reply":
            await peer.send(reply(b"half")[:-1])
            peer.close()
        case "error":
            await peer.send(reply(b"", status=b"500 No"))


HOW = pytest.mark.parametrize("how", ["close", "reset", "nonsense", "half a reply", "error"])


@HOW
@pytest.mark.parametrize("which", ["first", "second"])
async def test_when_one_of_two_fails_the_other_is_waited_for(house: House, how: str, which: str) -> None:
    scene = Scene(house)
    await scene.begin()
    good, bad = (scene.second, scene.first) if which == "first" else (scene.first, scene.second)
    await fail(bad, how)
    await until(lambda: scene.lb.in_flight() == 1)
    await good.send(reply(b"good"))
    assert (await scene.client.read_message()).body == b"good"
    record = await scene.lb.record()
    assert (record.backend, record.attempts) == ("b2" if which == "first" else "b1", 2)
    await scene.freed()


@HOW
async def test_when_both_fail_the_client_is_told_and_nobody_else_is_tried(house: House, how: str) -> None:
    scene = Scene(house)
    await scene.begin()
    await fail(scene.first, how)
    await until(lambda: scene.lb.in_flight() == 1)
    await fail(scene.second, how)
    got = await scene.client.read_message()
    assert got.status == (500 if how == "error" else 502)
    assert (await scene.lb.record()).attempts == 2
    await scene.freed()


async def test_second_that_refuses_does_no_harm(house: House) -> None:
    backend = house.backend()
    backends = [backend.config("b1"), BackendConfig("b2", "127.0.0.1", free_port())]
    lb = house.balancer(backends, hedge=True, timeouts=SOON, policy="round-robin")
    lb.hub.fleet.patience.note(0.001)
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await until(lambda: lb.hub.fleet.hedges == 1)
    await until(lambda: lb.in_flight() == 1)
    await peer.send(OK)
    assert (await client.read_message()).status == 200


LONG = {
    "long": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + pattern(5000),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(pattern(5000)),
    "until the close": b"HTTP/1.1 200 OK\r\n\r\n" + pattern(5000),
}


@pytest.mark.parametrize("kind", LONG)
async def test_reply_too_long_to_be_held_wins_when_it_begins(house: House, kind: str) -> None:
    scene = Scene(house, limits=SMALL)
    await scene.begin()
    whole = LONG[kind]
    await scene.second.send(whole[:200])
    await scene.client.read_head()
    await scene.second.send(whole[200:])
    if kind == "until the close":
        scene.second.close()
        body = (await scene.client.read_to_end())[0]
    else:
        body = await scene.client.read(5000)
    assert pattern(100) in body
    await scene.first.send(OK)
    await scene.freed()


async def test_interim_replies_are_passed_on_with_the_reply_that_wins(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    await scene.second.send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + reply(b"two"))
    assert (await scene.client.read_message()).status == 103
    assert (await scene.client.read_message()).body == b"two"
    await scene.first.send(OK)
    await scene.freed()


async def test_client_that_leaves_leaves_both_their_slots_until_they_are_done(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    scene.client.reset()
    assert (await scene.lb.record()).ending == "client_left"
    assert scene.lb.in_flight() == 2
    await scene.first.send(OK)
    await until(lambda: scene.lb.in_flight() == 1)
    scene.second.close()
    await scene.freed()


async def test_both_silent_for_too_long_becomes_504(house: House) -> None:
    scene = Scene(house, timeouts=Timeouts(connect_s=0.2, response_s=0.4))
    await scene.begin()
    assert (await scene.client.read_message()).status == 504
    assert (await scene.lb.record()).ending == "backend_silent"
    await scene.freed()


async def test_loser_that_stays_silent_is_given_up_in_time_and_counts_as_silent(house: House) -> None:
    scene = Scene(house, timeouts=Timeouts(connect_s=0.2, response_s=0.4))
    await scene.begin()
    await scene.second.send(OK)
    await scene.client.read_message()
    await scene.freed()
    assert scene.lb.hub.fleet.backends[0].failed == 1


async def test_end_of_the_balancer_leaves_nothing_behind(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    assert scene.lb.server.cut_off() == 1
    assert (await scene.lb.record()).ending == "cancelled"
    assert scene.lb.in_flight() == 2, "they compute on"
    scene.lb.hub.close()
    assert scene.lb.in_flight() == 0
    for peer in (scene.first, scene.second):
        assert await peer.ended()


async def test_ghost_that_answers_late_teaches_patience(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    await scene.second.send(OK)
    await scene.client.read_message()
    before_s = scene.lb.hub.fleet.patience.limit_s
    await asyncio.sleep(before_s)
    await scene.first.send(OK)
    await scene.freed()
    assert scene.lb.hub.fleet.patience.limit_s > before_s


async def test_many_hedged_requests_leave_nothing_behind(house: House) -> None:
    """Replies race, and each request has exactly one answer."""
    scene = Scene(house)
    lb: Balancer = scene.lb

    def slow_sometimes(name: bytes) -> None:
        loop = asyncio.get_running_loop()
        backend = scene.backends[0 if name == b"one" else 1]

        async def serve(peer: Peer, number: int) -> None:
            try:
                while True:
                    await peer.read_message()
                    await asyncio.sleep(LEAST_S * 1.5 * (number % 3))
                    await peer.send(reply(name))
            except (AssertionError, ConnectionError):
                pass

        async def accept() -> None:
            for number in range(1000):
                sock, _ = await loop.sock_accept(backend._sock)
                sock.setblocking(False)
                backend.peers.append(Peer(sock))
                backend._start(serve(backend.peers[-1], number))

        backend._start(accept())

    slow_sometimes(b"one")
    slow_sometimes(b"two")
    client = await lb.client()
    for _ in range(20):
        await client.send(GET)
        assert (await client.read_message()).body in (b"one", b"two")
    await scene.freed()
    assert [record.status for record in lb.records] == [200] * 20


async def test_connection_of_a_backend_that_was_replaced_is_not_its_successors(house: House) -> None:
    scene = Scene(house)
    await scene.begin()
    successor = house.backend()
    successor.answer(lambda request: reply(b"successor"))
    hub = scene.lb.hub
    hub.replace(hub.fleet.backends[0], successor.config("b1", concurrency=1))
    await scene.first.send(reply(b"one"))
    assert (await scene.client.read_message()).body == b"one"
    await scene.second.send(reply(b"two"))
    await scene.freed()
    hub.review()
    assert scene.lb.upstream("b1").config.port == successor.port
    assert not scene.lb.upstream("b1")._idle
    assert await scene.first.ended()
