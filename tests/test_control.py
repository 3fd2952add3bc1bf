"""Commands to a running balancer, and what a reload does and leaves alone."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hostile.steps import few_turns
from relay.support import GET, OK, House, Peer, ScriptedBackend, pattern, post, reply, served_once, until

from ocr_tcp_lb.config import Config, QueueConfig, TcpAddress
from ocr_tcp_lb.control import VERBS, ControlError, Operator
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.sockets import ListenError
from ocr_tcp_lb.settings.faults import ConfigError, Fault


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    await house.close()


class Scene:
    """A balancer before two backends that say who they are, and its operator."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.backends = [self.backend(f"b{number}") for number in (1, 2)]
        configs = [one.config(f"b{n}", concurrency=1) for n, one in enumerate(self.backends, 1)]
        self.lb = house.balancer(configs, policy="round-robin")  # everybody gets something
        self.wanted: Config | ConfigError = self.lb.hub.config
        self.operator = Operator(self.lb.hub, self.lb.server, self.load)

    def backend(self, name: str) -> ScriptedBackend:
        backend = self.house.backend()
        backend.answer(lambda request: reply(name.encode()))
        return backend

    def load(self) -> Config:
        if isinstance(self.wanted, ConfigError):
            raise self.wanted
        return self.wanted

    def want(self, **more: object) -> None:
        self.wanted = replace(self.lb.hub.config, **more)  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        return [backend.name for backend in self.lb.hub.fleet.backends]

    async def served_by(self, count: int = 6) -> set[bytes]:
        client = await self.lb.client()
        names = set()
        for _ in range(count):
            await client.send(GET)
            names.add((await client.read_message()).body)
        return names


@pytest.fixture
async def scene(house: House) -> Scene:
    return Scene(house)


async def test_drained_backend_gets_nothing_until_it_is_put_back(scene: Scene) -> None:
    scene.operator.do(["drain", "b1"])
    assert await scene.served_by() == {b"b2"}
    scene.operator.do(["undrain", "b1"])
    assert await scene.served_by() == {b"b1", b"b2"}


async def test_added_backend_serves_and_gets_a_free_name(scene: Scene) -> None:
    third = scene.backend("third")
    done = scene.operator.do(["add", f"http://127.0.0.1:{third.port}/ocr,concurrency=1"])
    assert done.startswith("backend b3 ")
    assert await scene.served_by(9) == {b"b1", b"b2", b"third"}
    assert third.requests[0].start == b"GET /ocr HTTP/1.1", "its own path"


async def test_removed_backend_finishes_what_it_has(house: House) -> None:
    slow, other = house.backend(), house.backend()
    other.answer(lambda request: reply(b"other"))
    lb = house.balancer([slow, other])
    operator = Operator(lb.hub, lb.server)
    operator.do(["drain", "b2"])
    client = await lb.client()
    await client.send(GET)
    peer = await slow.accept()
    await peer.read_message()
    operator.do(["undrain", "b2"])
    operator.do(["remove", "b1"])
    assert [backend.name for backend in lb.hub.upstreams] == ["b1", "b2"], "a lease may still ask for it"
    await peer.send(reply(b"slow"))
    assert (await client.read_message()).body == b"slow"
    await until(lambda: lb.in_flight() == 0)
    lb.hub.review()
    assert [backend.name for backend in lb.hub.upstreams] == ["b2"]
    assert await peer.ended(), "no connection to it is kept"


async def test_weight_is_changed_for_the_next_request(scene: Scene) -> None:
    scene.operator.do(["weight", "b1", "0"])
    assert await scene.served_by() == {b"b2"}
    assert scene.lb.upstream("b1").config.weight == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is no command ''"),
        (["drian", "b1"], "did you mean drain?"),
        (["drain"], "write drain NAME"),
        (["drain", "b9"], "known are b1, b2"),
        (["weight", "b1", "much"], "not a number"),
        (["add", "127.0.0.1:5000"], ""),
        (["add", "http://127.0.0.1:1/,name=b1"], "the name b1 is taken"),
        (["weight", "b1"], "write weight NAME NUMBER"),
        (["reload", "now"], "write reload"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(scene: Scene, words: list[str], message: str) -> None:
    with pytest.raises(LoadBalancerError) as caught:
        scene.operator.do(words)
    assert message in str(caught.value)
    assert scene.names == ["b1", "b2"]


async def test_service_is_not_added_twice(scene: Scene) -> None:
    url = scene.lb.upstream("b2").config.url
    with pytest.raises(ControlError, match="is backend b2 already; add another URL"):
        scene.operator.do(["add", f"{url},name=again"])
    assert scene.names == ["b1", "b2"]


async def test_last_backend_stays(scene: Scene) -> None:
    scene.operator.do(["remove", "b1"])
    with pytest.raises(ControlError, match="last backend"):
        scene.operator.do(["remove", "b2"])


async def test_every_verb_is_explained(scene: Scene) -> None:
    assert set(scene.operator._verbs) == set(VERBS)


async def test_without_a_way_back_to_the_configuration_there_is_no_reload(house: House) -> None:
    lb = house.balancer([house.backend()])
    with pytest.raises(ControlError, match="no configuration"):
        Operator(lb.hub, lb.server).do(["reload"])


async def test_reload_adds_and_removes_and_keeps_what_was_learned(scene: Scene) -> None:
    third = scene.backend("third")
    await scene.served_by()
    kept = scene.lb.hub.fleet.backends[1]
    served = kept.served
    scene.want(backends=(scene.backends[1].config("b2", concurrency=2, weight=2.0), third.config("b3")))
    assert scene.operator.do(["reload"]) == "reloaded; backends: 1 added, 1 changed, 1 removed"
    assert scene.names == ["b2", "b3"]
    assert scene.lb.hub.fleet.backends[0] is kept
    assert (kept.served, kept.limit, kept.weight) == (served, 2, 2.0)
    assert await scene.served_by() == {b"b2", b"third"}


async def test_same_name_at_another_address_is_another_backend(scene: Scene) -> None:
    successor = scene.backend("successor")
    scene.want(backends=(successor.config("b1"), scene.backends[1].config("b2", concurrency=1)))
    scene.operator.reload()
    assert await scene.served_by() == {b"successor", b"b2"}
    assert sorted(backend.name for backend in scene.lb.hub.upstreams) == ["b1", "b2"]


@pytest.mark.parametrize("names", [("b1",), ("b2",), ("b1", "b2"), ("b2", "b1"), ("x", "b1")])
async def test_who_serves_a_url_stays_who_it_is_whatever_its_place_or_name(
    scene: Scene, names: tuple[str, ...]
) -> None:
    """Names that were not told are places in the file: one that moved must not pass for another, or for a new one."""
    first, second = scene.lb.hub.fleet.backends
    scene.operator.do(["drain", "b2"])
    await scene.served_by()
    configs = [one.config(name, concurrency=1) for name, one in zip(names, reversed(scene.backends), strict=False)]
    scene.want(backends=tuple(configs))
    scene.operator.reload()
    was_second, *others = scene.lb.hub.fleet.backends if len(names) == 1 else reversed(scene.lb.hub.fleet.backends)
    assert was_second is second
    assert others == ([first] if len(names) == 2 else [])
    assert second.is_draining
    assert scene.lb.hub.upstreams[second].name == second.name == names[0]


async def test_drain_outlasts_a_change_of_the_address(scene: Scene) -> None:
    scene.operator.do(["drain", "b2"])
    scene.want(backends=(scene.backends[0].config("b1"), scene.backend("successor").config("b2")))
    scene.operator.reload()
    assert await scene.served_by() == {b"b1"}
    scene.operator.do(["undrain", "b2"])
    assert await scene.served_by() == {b"b1", b"successor"}


async def test_whole_fleet_is_exchanged_under_a_waiting_client(house: House) -> None:
    old, new = house.backend(), house.backend()
    new.answer(lambda request: reply(b"new"))
    lb = house.balancer([old.config("b1", concurrency=1)])
    first, second = await lb.client(), await lb.client()
    await first.send(GET)
    peer = await old.accept()
    await peer.read_message()
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    wanted = replace(lb.hub.config, backends=(new.config("b1", concurrency=1),))
    Operator(lb.hub, lb.server, lambda: wanted).reload()
    assert (await second.read_message()).body == b"new"
    await peer.send(reply(b"old"))
    assert (await first.read_message()).body == b"old"


async def test_bad_configuration_is_refused_and_the_old_one_runs_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.wanted = ConfigError([Fault("lb.toml", "wrong"), Fault("lb.toml", "worse")])
    with pytest.raises(ConfigError, match="wrong"):
        scene.operator.do(["reload"])
    assert "not reloaded: lb.toml: worse" in caplog.text
    assert await scene.served_by() == {b"b1", b"b2"}


async def test_address_that_cannot_be_had_refuses_the_whole_reload(scene: Scene) -> None:
    taken = scene.lb.address
    assert isinstance(taken, TcpAddress)
    other = scene.house.balancer([scene.backends[0]]).address
    scene.want(listen=(taken, other), backends=scene.lb.hub.config.backends[:1])
    with pytest.raises(ListenError, match="already in use"):
        scene.operator.reload()
    assert scene.names == ["b1", "b2"]
    assert scene.lb.server.addresses == [taken]


async def test_listeners_are_added_and_dropped_and_clients_stay(scene: Scene) -> None:
    client = await scene.lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 200
    old = scene.lb.address
    scene.want(listen=(old, TcpAddress("127.0.0.2", 0)))
    scene.operator.reload()
    first, second = scene.lb.server.addresses
    assert first == old
    scene.want(listen=(second,))
    scene.operator.reload()
    assert scene.lb.server.addresses == [second]
    with pytest.raises(ConnectionRefusedError):
        await scene.lb.client(old)
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert (await scene.lb.client(second)).sock


async def test_address_that_covers_more_is_listened_on_as_a_whole(scene: Scene) -> None:
    lb = scene.house.balancer([scene.backends[0]], listen=[TcpAddress("0.0.0.0", 0)])
    assert isinstance(lb.address, TcpAddress)
    port = lb.address.port
    wanted = replace(lb.hub.config, listen=(TcpAddress("", port),))
    Operator(lb.hub, lb.server, lambda: wanted).reload()
    assert lb.server.addresses == [TcpAddress("0.0.0.0", port), TcpAddress("::", port)]
    client = await lb.client(TcpAddress("::1", port))
    await client.send(GET)
    assert (await client.read_message()).status == 200


async def test_address_that_a_present_one_covers_is_refused_in_words(scene: Scene) -> None:
    lb = scene.house.balancer([scene.backends[0]], listen=[TcpAddress("0.0.0.0", 0)])
    address = lb.address
    assert isinstance(address, TcpAddress)
    wanted = replace(lb.hub.config, listen=(TcpAddress("127.0.0.1", address.port),))
    with pytest.raises(ListenError, match=f"beside 0.0.0.0:{address.port}, which this balancer has: a restart can"):
        Operator(lb.hub, lb.server, lambda: wanted).reload()
    assert lb.server.addresses == [address]


async def test_what_needs_a_restart_is_named_and_left(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.want(policy="random", queue=QueueConfig(size=7), retries=0)
    assert scene.operator.reload().endswith("; a change of policy needs a restart")
    assert "a change of policy needs a restart" in caplog.text
    assert scene.lb.hub.config.policy == "round-robin"
    assert scene.lb.hub.config.queue.size == 7
    assert scene.lb.hub.fleet.snapshot().queue_size == 7


async def test_a_hundred_reloads_under_load_lose_nothing_and_leave_nothing(scene: Scene) -> None:
    extra = scene.backend("extra")
    base = scene.lb.hub.config.backends
    statuses: list[int] = []
    done = asyncio.Event()

    async def ask(client: Peer) -> None:
        while not done.is_set():
            await client.send(GET)
            statuses.append((await client.read_message()).status)

    peers = [await scene.lb.client() for _ in range(4)]
    clients = [asyncio.ensure_future(ask(peer)) for peer in peers]
    for number in range(100):
        scene.want(backends=(*base[number % 2 :], extra.config(f"extra{number % 3}", weight=1.0 + number % 2)))
        scene.operator.reload()
        seen = len(statuses)
        await until(lambda seen=seen: len(statuses) > seen + 4)  # type: ignore[misc]
    scene.want(backends=base)
    scene.operator.reload()
    done.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    await until(lambda: scene.lb.in_flight() == 0)
    scene.lb.hub.review()
    assert sorted(backend.name for backend in scene.lb.hub.upstreams) == ["b1", "b2"]


# Reloads in the middle of things


async def test_sockets_of_systemd_stay_whatever_the_file_says(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    ours = scene.lb.address
    operator = Operator(scene.lb.hub, scene.lb.server, scene.load, owns_listeners=False)
    scene.lb.hub.config = replace(scene.lb.hub.config, listen=(TcpAddress("127.0.0.2", 0),))
    scene.want(listen=(TcpAddress("127.0.0.3", 0),))
    assert operator.reload().endswith("the ports stay those of systemd's socket unit")
    assert "listen says nothing here" in caplog.text
    assert scene.lb.server.addresses == [ours]
    assert await scene.served_by() == {b"b1", b"b2"}


async def test_lower_limit_is_for_requests_to_come(house: House) -> None:
    lb, client, peer = await served_once(house, concurrency=1)
    await client.send(post(pattern(1000)))
    await peer.read_message()
    wanted = replace(lb.hub.config, limits=replace(lb.hub.limits, body_bytes=100))
    Operator(lb.hub, lb.server, lambda: wanted).reload()
    await peer.send(OK[:-1])  # not whole: the express lane hands over
    await few_turns()
    await peer.send(OK[-1:])
    assert (await client.read_message()).status == 200
    await client.send(post(pattern(1000)))
    assert (await client.read_message()).status == 413
    assert lb.in_flight() == 0


@pytest.mark.parametrize("end", [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
async def test_connections_of_a_replaced_backend_are_not_its_successors(house: House, end: bytes) -> None:
    lb, client, peer = await served_once(house)
    new = house.backend()
    new.answer(lambda request: reply(b"new"))
    await client.send(GET)
    await peer.read_message()
    wanted = replace(lb.hub.config, backends=(new.config("b1"),))
    Operator(lb.hub, lb.server, lambda: wanted).reload()
    await peer.send(end)
    assert (await client.read_message()).status == 200
    await client.send(GET)
    assert (await client.read_message()).body == b"new"
    assert await peer.ended(), "nobody keeps it"


async def test_connection_that_was_introduced_serves_nobody_else_though_no_header_is_asked_for_now(
    house: House,
) -> None:
    backend = house.backend()
    config = backend.config("b1", send_proxy=1)
    lb = house.balancer([config])
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_until(b"\r\n")
    await peer.read_message()
    wanted = replace(lb.hub.config, backends=(replace(config, send_proxy=None),))
    Operator(lb.hub, lb.server, lambda: wanted).reload()
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    await until(lambda: lb.in_flight() == 0)
    assert not lb.upstream("b1")._idle
    assert await peer.ended()


async def test_who_is_ending_does_not_reload(scene: Scene) -> None:
    scene.lb.hub.is_draining = True
    with pytest.raises(ControlError, match="ending"):
        scene.operator.reload()


async def test_host_that_cannot_be_resolved_refuses_the_reload(scene: Scene) -> None:
    assert isinstance(scene.lb.address, TcpAddress)
    scene.want(listen=(TcpAddress("no-such-host.invalid", scene.lb.address.port),))
    with pytest.raises(ListenError, match="no-such-host"):
        scene.operator.reload()
    assert await scene.served_by() == {b"b1", b"b2"}


async def test_added_backend_has_the_concurrency_that_all_others_have(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=4)], concurrency=4, mode="tcp")
    operator = Operator(lb.hub, lb.server)
    operator.do(["add", "http://127.0.0.1:1/"])
    operator.do(["add", "http://127.0.0.1:2/,concurrency=2"])
    assert [one.limit for one in lb.hub.fleet.backends] == [4, 4, 2]


async def test_backend_in_tcp_mode_may_have_no_limit_beside_others_that_have(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=4)], mode="tcp")
    wanted = replace(lb.hub.config, backends=(backend.config("b1"),))
    operator = Operator(lb.hub, lb.server, lambda: wanted)
    operator.do(["add", "http://127.0.0.1:1/"])
    assert [one.limit for one in lb.hub.fleet.backends] == [4, math.inf]
    operator.do(["reload"])
    assert [one.limit for one in lb.hub.fleet.backends] == [math.inf]
