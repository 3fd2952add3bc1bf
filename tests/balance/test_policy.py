import random
from collections import Counter

import pytest

from ocr_tcp_lb.balance import POLICIES, Backend, BackendSpec, Outcome

from .world import World, specs, teach

every_policy = pytest.mark.parametrize("policy", POLICIES)


@every_policy
def test_the_only_candidate_is_chosen(policy: str) -> None:
    only = Backend(BackendSpec("b1"))
    assert POLICIES[policy]().pick([only], 0.0, random.Random(1)) is only


@every_policy
def test_a_full_backend_is_skipped(policy: str) -> None:
    world = World(*specs(1, 1, concurrency=2), policy=policy)
    assert Counter(world.lease().backend.name for _ in range(4)) == {"b1": 2, "b2": 2}
    world.wait()


@every_policy
def test_a_draining_backend_is_skipped(policy: str) -> None:
    world = World(*specs(1, 1), policy=policy)
    world.fleet.drain(world.backend("b1"), world.now)
    assert set(world.serve(10)) == {"b2"}


@every_policy
def test_an_ejected_backend_is_skipped(policy: str) -> None:
    world = World(*specs(1, 1), policy=policy)
    world.fail("b2", Outcome.CONNECT_FAILED)
    assert set(world.serve(10)) == {"b1"}


@every_policy
def test_a_reserve_is_used_only_when_no_other_can_take_a_request(policy: str) -> None:
    world = World(*specs(1, 0, concurrency=1), policy=policy)
    first = world.lease()
    second = world.lease()
    assert (first.backend.name, second.backend.name) == ("b1", "b2")
    world.settle(second)
    world.settle(first)
    assert set(world.serve(10)) == {"b1"}


@every_policy
def test_reserves_alone_still_serve(policy: str) -> None:
    assert len(World(*specs(0, 0), policy=policy).serve(20)) == 20


@every_policy
def test_no_equal_backend_starves(policy: str) -> None:
    world = World(*specs(1, 1, 1), policy=policy)
    shares = Counter(world.serve(60, service_s=0.05))
    assert set(shares) == {"b1", "b2", "b3"}


@every_policy
def test_more_weight_means_more_work_under_load(policy: str) -> None:
    if policy == "queue":
        return  # with a limit, a backend has the work that it can do; weight is told speed
    world = World(*specs(1, 3), policy=policy)
    leases = [world.lease() for _ in range(80)]
    shares = Counter(lease.backend.name for lease in leases)
    assert 50 <= shares["b2"] <= 79


@every_policy
def test_a_backend_that_fails_fast_attracts_no_work(policy: str) -> None:
    world = World(*specs(1, 1, 1, concurrency=4), policy=policy)
    for name in ("b1", "b2", "b3"):
        teach(world, name, 0.05)
    errors = 0
    for _ in range(300):
        lease = world.lease()
        is_bad = lease.backend.name == "b2"
        errors += is_bad
        outcome = Outcome.SERVER_ERROR if is_bad else Outcome.SERVED
        world.settle(lease, outcome, after_s=0.002 if is_bad else 0.05)
        world.fleet.tick(world.now)
    assert errors <= 2 + 6  # two to eject, then one trial per back-off in these 15 s


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (3, 2, 1), (4, 6)])
def test_round_robin_is_exact_in_every_window_of_one_period(weights: tuple[int, ...]) -> None:
    names = World(*specs(*weights), policy="round-robin").serve(5 * sum(weights))
    expected = {f"b{i}": weight for i, weight in enumerate(weights, start=1)}
    for start in range(4 * sum(weights)):
        assert Counter(names[start : start + sum(weights)]) == expected


def test_round_robin_spreads_the_turns_of_a_heavy_backend() -> None:
    names = World(*specs(5, 1, 1), policy="round-robin").serve(7)
    assert names == ["b1", "b1", "b2", "b1", "b3", "b1", "b1"]


def test_round_robin_keeps_the_survivors_shares_of_each_other() -> None:
    world = World(*specs(3, 2, 1), policy="round-robin")
    world.serve(8)
    world.fail("b1", Outcome.CONNECT_FAILED)
    shares = Counter(world.serve(300))
    assert shares["b2"] == pytest.approx(200, abs=2)
    assert shares["b3"] == pytest.approx(100, abs=2)


def test_round_robin_gives_one_that_returns_no_burst() -> None:
    world = World(*specs(1, 1), policy="round-robin")
    world.fleet.drain(world.backend("b1"), world.now)
    world.serve(100)
    world.fleet.undrain(world.backend("b1"), world.now)
    assert Counter(world.serve(10)) == {"b1": 5, "b2": 5}


@pytest.mark.parametrize("policy", ["random", "p2c"])
def test_chance_follows_the_weights(policy: str) -> None:
    shares = Counter(World(*specs(3, 2, 1), policy=policy, seed=5).serve(6000))
    for name, expected in (("b1", 3000), ("b2", 2000), ("b3", 1000)):
        assert shares[name] == pytest.approx(expected, rel=0.08)


def test_two_choices_avoid_the_busier_one() -> None:
    world = World(*specs(1, 1), policy="p2c")
    in_flight = Counter(world.lease().backend.name for _ in range(100))
    assert in_flight == {"b1": 50, "b2": 50}


def test_least_outstanding_takes_turns_when_all_are_idle() -> None:
    names = World(*specs(1, 1, 1), policy="least-outstanding").serve(6)
    assert names == ["b1", "b2", "b3"] * 2


def test_least_outstanding_fills_in_proportion_to_weight() -> None:
    world = World(*specs(2, 1), policy="least-outstanding")
    assert Counter(world.lease().backend.name for _ in range(30)) == {"b1": 20, "b2": 10}


def test_peak_ewma_prefers_the_fast_until_it_is_busier_than_it_is_faster() -> None:
    world = World(*specs(1, 1), policy="peak-ewma")
    teach(world, "b1", 0.1)
    teach(world, "b2", 0.35)
    assert [world.lease().backend.name for _ in range(5)] == ["b1", "b1", "b1", "b2", "b1"]


def test_peak_ewma_measures_a_new_backend_with_one_request() -> None:
    world = World(*specs(1, 1), policy="peak-ewma")
    teach(world, "b1", 0.1)
    assert [world.lease().backend.name for _ in range(4)] == ["b2", "b1", "b1", "b1"]


def test_queue_takes_the_fastest_free_backend_first() -> None:
    world = World(*specs(1, 1, 1, concurrency=1))
    for name, service_s in (("b1", 0.3), ("b2", 0.1), ("b3", 0.2)):
        teach(world, name, service_s)
    assert [world.lease().backend.name for _ in range(3)] == ["b2", "b3", "b1"]


def test_queue_counts_weight_as_speed() -> None:
    world = World(*specs(1, 4, concurrency=1))
    teach(world, "b1", 0.1)
    teach(world, "b2", 0.2)
    assert world.lease().backend.name == "b2"


def test_queue_spreads_until_speeds_are_known() -> None:
    world = World(*specs(1, 1, 1, concurrency=4))
    assert Counter(world.lease().backend.name for _ in range(6)) == {"b1": 2, "b2": 2, "b3": 2}


def test_queue_expects_much_of_a_backend_that_it_knows_little_of() -> None:
    world = World(*specs(1, 1, concurrency=4))
    teach(world, "b1", 0.09)
    names = world.serve(50, service_s=0.1)
    assert names[:15] == ["b2"] * 15
    assert set(names[20:]) == {"b1", "b2"}


def test_queue_looks_again_at_a_backend_whose_estimate_expired() -> None:
    world = World(*specs(1, 1, concurrency=4))
    teach(world, "b1", 0.1)
    teach(world, "b2", 1.0)
    names = world.serve(1000, service_s=0.1)
    assert names[:500] == ["b1"] * 500
    assert "b2" in names


def test_queue_probes_where_no_limit_is_told() -> None:
    world = World(*specs(1, 1))
    teach(world, "b1", 0.1)
    teach(world, "b2", 0.1)
    assert world.serve(2, service_s=0.1) == ["b1", "b2"]
    assert [world.lease().backend.name for _ in range(4)] == ["b1", "b2", "b1", "b2"]
    world.wait()


def test_queue_sends_two_requests_and_no_more_until_the_first_answer() -> None:
    world = World(*specs(1))
    lease = world.lease()
    world.lease()
    for _ in range(4):
        world.wait()
    assert len(world.settle(lease, after_s=0.1)) == 1


def test_queue_prefers_an_idle_backend_to_a_second_request_at_an_unknown_one() -> None:
    world = World(*specs(1, 1, 1))
    assert len({world.lease().backend.name for _ in range(3)}) == 3
