from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.roster import Roster


def backends(*weights: float) -> list[Backend]:
    return [Backend(BackendSpec(f"b{i}", weight, 1)) for i, weight in enumerate(weights)]


def test_all_eligible_backends_are_candidates_in_their_order() -> None:
    all_three = backends(1, 1, 1)
    assert list(Roster(all_three).candidates) == all_three


def test_a_full_backend_is_off_the_list_until_it_has_a_slot() -> None:
    first, second, third = all_three = backends(1, 1, 1)
    roster = Roster(all_three)
    first.take(1, 0.0)
    roster.refresh(first)
    roster.refresh(first)
    assert set(roster.candidates) == {second, third}
    first.in_flight = 0
    roster.refresh(first)
    assert set(roster.candidates) == {first, second, third}


def test_reserves_show_only_when_no_other_is_open() -> None:
    worker, reserve = both = backends(1, 0)
    roster = Roster(both)
    assert list(roster.candidates) == [worker]
    worker.take(1, 0.0)
    roster.refresh(worker)
    assert list(roster.candidates) == [reserve]


def test_tried_backends_can_be_left_out() -> None:
    first, second, reserve = all_three = backends(1, 1, 0)
    roster = Roster(all_three)
    assert list(roster.candidates_without({first})) == [second]
    assert list(roster.candidates_without({first, second})) == [reserve]
    assert not roster.candidates_without(set(all_three))
