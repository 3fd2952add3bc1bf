"""Health checks against real sockets: who is checked, when, and what comes of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.config import QueueConfig, Timeouts
from ocr_tcp_lb.relay import probe
from ocr_tcp_lb.relay.answer import MOST_INTERIM_REPLIES
from ocr_tcp_lb.relay.probe import Prober

from .support import GET, OK, Balancer, House, Message, ScriptedBackend, replaces_a_part, reply, until

FAST_S = 0.01
Begin = Callable[[Balancer], "asyncio.Future[Prober]"]


@pytest.fixture
async def begin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    """Starts probers that look all the time and end with the test."""
    monkeypatch.setattr(probe, "LOOK_S", FAST_S)
    probers: list[Prober] = []

    async def start(lb: Balancer) -> Prober:
        probers.append(Prober(lb.hub, random.Random(1)))
        await probers[-1].start()
        return probers[-1]

    yield lambda lb: asyncio.ensure_future(start(lb))
    for prober in probers:
        prober.close()


def state_of(lb: Balancer, number: int = 0) -> State:
    return lb.hub.fleet.backends[number].health.state


def healthy_when(is_well: Callable[[], bool]) -> Callable[[Message], bytes]:
    """A service whose health path says whether it is well, and which serves everything else."""

    def answer(request: Message) -> bytes:
        if request.start.startswith(b"GET /health "):
            return reply(b"", status=b"204 No Content" if is_well() else b"503 Loading")
        return OK

    return answer


async def test_backend_that_refuses_is_found_without_a_request(house: House, begin: Begin) -> None:
    backend = house.backend()
    backend.stop()
    lb = house.balancer([backend], health_interval_s=FAST_S)
    await begin(lb)
    await until(lambda: state_of(lb) is State.EJECTED)
    assert lb.records == []


async def test_health_path_that_goes_on_with_interim_replies_fails(house: House, begin: Begin) -> None:
    backend = house.backend()
    config = backend.config("b1", health_path="/health")
    lb = house.balancer([config], health_interval_s=60.0, timeouts=Timeouts(connect_s=60.0))
    starting = begin(lb)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * (MOST_INTERIM_REPLIES + 1))
    await until(lambda: state_of(lb) is State.EJECTED)
    await starting


async def test_backend_that_is_back_is_found_and_serves_who_waits(house: House, begin: Begin) -> None:
    backend = house.backend()
    port = backend.port
    backend.stop()
    lb = house.balancer([backend], health_interval_s=FAST_S)
    await begin(lb)
    await until(lambda: state_of(lb) is State.EJECTED)
    client = await lb.client()
    await client.send(GET)
    await until(lambda: lb.waiting == 1)
    house.backend(port=port).answer()
    assert (await client.read_message()).status == 200


async def test_fleet_that_is_loading_holds_the_queue(house: House, begin: Begin) -> None:
    loaded: list[bool] = []
    backend = house.backend()
    backend.answer(healthy_when(lambda: bool(loaded)))
    config = backend.config("b1", health_path="/health")
    lb = house.balancer([config], health_interval_s=FAST_S, queue=QueueConfig(timeout_s=5.0))
    await begin(lb)
    assert state_of(lb) is State.EJECTED, "known before the first client is served"
    client = await lb.client()
    await client.send(GET)
    await until(lambda: lb.waiting == 1)
    loaded.append(True)
    assert (await client.read_message()).status == 200
    assert [request.start for request in backend.requests if b"/health" not in request.start] == [b"GET / HTTP/1.1"]


async def test_check_names_the_host_and_introduces_itself_to_who_wants_that(house: House, begin: Begin) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", health_path="/health?deep=1", send_proxy=1)], health_interval_s=5.0)
    started = begin(lb)
    peer = await backend.accept()
    hosts, ports = zip(peer.sock.getpeername(), peer.sock.getsockname(), strict=True)
    assert await peer.read_until(b"\r\n") == f"PROXY TCP4 {' '.join(map(str, hosts + ports))}\r\n".encode()
    message = await peer.read_message()
    assert message.start == b"GET /health?deep=1 HTTP/1.1"
    assert message.values(b"host") == [b"127.0.0.1:%d" % backend.port]
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    await started
    assert state_of(lb) is State.UP


@replaces_a_part
async def test_backend_with_work_in_flight_is_never_checked(house: House, begin: Begin) -> None:
    backend = house.backend()
    lb = house.balancer([backend], health_interval_s=FAST_S)
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    prober = await begin(lb)
    looks = 0

    def review() -> None:
        nonlocal looks
        looks += 1

    lb.hub.review = review  # type: ignore[method-assign]
    await until(lambda: looks >= 5)
    assert not backend.has_caller()
    assert not prober._running
    await peer.send(OK)
    await client.read_message()


async def test_silent_health_path_is_a_failure_after_the_connect_time_out(house: House, begin: Begin) -> None:
    backend = house.backend()
    config = backend.config("b1", health_path="/health")
    lb = house.balancer([config], health_interval_s=5.0, timeouts=Timeouts(connect_s=0.05))
    await begin(lb)
    assert state_of(lb) is State.EJECTED


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", b""])
async def test_anything_but_2xx_is_a_failure(house: House, begin: Begin, answer: bytes) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", health_path="/health")], health_interval_s=5.0)
    started = begin(lb)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(answer)
    peer.close()
    await started
    assert state_of(lb) is State.EJECTED


async def test_interval_0_checks_nobody(house: House, begin: Begin) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", health_path="/health")], health_interval_s=0.0)
    prober = await begin(lb)
    assert not prober._running
    assert not backend.has_caller()


async def test_hanging_backend_is_passed_over(house: House, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.silence.LEAST_S", 0.05)
    backends: list[ScriptedBackend] = [house.backend(), house.backend()]
    configs = [one.config(f"b{number}", concurrency=4) for number, one in enumerate(backends)]
    lb = house.balancer(configs, health_interval_s=0.0)
    backends[1].answer()
    for _ in range(3):  # so that a usual service time is known
        lb.hub.fleet.backends[1].service.learn(0.001, 0.0)
        lb.hub.fleet.backends[0].service.learn(0.001, 0.0)
    await begin(lb)
    stuck = await lb.client()
    lb.hub.drain(lb.hub.fleet.backends[1])
    await stuck.send(GET)
    peer = await backends[0].accept()
    await peer.read_message()
    lb.hub.undrain(lb.hub.fleet.backends[1])
    await until(lambda: lb.hub.fleet.backends[0].is_silent)
    client = await lb.client()
    for _ in range(6):
        await client.send(GET)
        assert (await client.read_message()).status == 200
    assert len(backends[1].requests) == 6
    assert state_of(lb, 0) is State.UP, "slow is not sick"
    await peer.send(OK)
    assert (await stuck.read_message()).status == 200
    await until(lambda: not lb.hub.fleet.backends[0].is_silent)
