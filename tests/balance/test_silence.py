from balance.world import World, specs, teach
from ocr_tcp_lb.balance import Outcome
from ocr_tcp_lb.balance.silence import LEAST_S, TIMES_USUAL


def pair(concurrency: int = 2) -> World:
    world = World(*specs(1, 1, concurrency=concurrency))
    for name in ("b1", "b2"):
        teach(world, name, 0.1)
    return world


def look(world: World, after_s: float = 0.0) -> list[str]:
    """Let time pass, look, and return who is passed over."""
    world.now += after_s
    world.fleet.review(world.now)
    return [backend.name for backend in world.fleet.backends if backend.is_silent]


def test_a_backend_that_keeps_a_request_for_too_long_gets_no_other() -> None:
    world = pair()
    stuck = world.lease()
    assert look(world) == []
    assert look(world, LEAST_S) == []
    assert look(world, 0.3) == [stuck.backend.name]
    assert stuck.backend.name not in world.serve(10)


def test_nobody_waits_behind_it_for_a_slot_there() -> None:
    world = pair(concurrency=1)
    stuck, other = world.lease(), world.lease()
    look(world)
    waiting = world.wait()
    assert look(world, LEAST_S + 0.1) == [stuck.backend.name], "never both"
    granted = world.settle(other)
    assert [(lease.ticket, lease.backend) for lease in granted] == [(waiting, other.backend)]


def test_it_is_not_ejected_and_one_reply_brings_it_back() -> None:
    world = pair()
    stuck, second = world.lease(), world.lease()
    while second.backend is not stuck.backend:
        second = world.lease()
    look(world)
    assert stuck.backend.name in look(world, LEAST_S + 0.1)
    assert stuck.backend.health.takes_requests
    world.settle(second)
    assert stuck.backend.name not in look(world)


def test_time_counts_from_the_last_reply() -> None:
    world = pair(concurrency=4)
    leases = [world.lease() for _ in range(8)]
    look(world)
    for lease in leases[:6]:
        world.settle(lease, after_s=0.5)
        assert look(world) == []


def test_a_slow_backend_is_measured_by_its_own_time() -> None:
    world = World(*specs(1, 1, concurrency=1))
    teach(world, "b1", 10.0)
    teach(world, "b2", 10.0)
    world.lease()
    look(world)
    assert look(world, TIMES_USUAL * 10.0 - 1) == []
    assert look(world, 1.5) == ["b1"]


def test_nothing_is_suspected_while_nothing_was_measured() -> None:
    world = World(*specs(1, 1, concurrency=2))
    world.lease()
    look(world)
    assert look(world, 3600.0) == []


def test_the_last_one_is_taken_back_when_the_others_go() -> None:
    world = pair()
    stuck = world.lease()
    look(world)
    look(world, LEAST_S + 0.1)
    assert stuck.backend.is_silent
    other = next(b for b in world.fleet.backends if b is not stuck.backend)
    world.fleet.drain(other, world.now)
    waiting = world.wait()
    granted = world.fleet.review(world.now)
    assert [(lease.ticket, lease.backend) for lease in granted] == [(waiting, stuck.backend)]


def test_an_idle_backend_is_not_silent() -> None:
    world = pair()
    world.settle(world.lease())
    look(world)
    assert look(world, 3600.0) == []
    lease = world.lease()
    assert look(world, 1.0) == [], "it has been busy for a second at most"
    world.settle(lease, Outcome.CLIENT_LEFT)


def test_a_backend_whose_replies_go_on_for_long_is_not_silent() -> None:
    world = pair()
    lease = world.lease()
    world.fleet.begin_reply(lease)
    for _ in range(3):
        world.now += 10 * LEAST_S
        world.fleet.review(world.now)
        assert not lease.backend.is_silent
    world.fleet.end_reply(lease)
    assert lease.backend.replying == 0


def test_a_request_beside_a_long_reply_is_waited_for_from_when_it_came() -> None:
    world = pair()
    lease = world.lease()
    world.fleet.begin_reply(lease)
    world.fleet.review(world.now)
    world.now += 10 * LEAST_S
    while world.lease().backend is not lease.backend:
        pass
    world.fleet.review(world.now)
    world.now += 0.9 * LEAST_S
    world.fleet.review(world.now)
    assert not lease.backend.is_silent
    world.now += 0.2 * LEAST_S
    world.fleet.review(world.now)
    assert lease.backend.is_silent
