import random
from itertools import product

import pytest

from ocr_tcp_lb.balance.health import (
    BACKOFF_FIRST_S,
    BACKOFF_GROWTH,
    BACKOFF_JITTER,
    BACKOFF_MAX_S,
    DEAR_BACKOFF_FIRST_S,
    DEAR_BACKOFF_GROWTH,
    DEAR_BACKOFF_MAX_S,
    TRANSITIONS,
    Event,
    Health,
    State,
)
from ocr_tcp_lb.balance.outcome import Outcome

UP, EJECTED, TRIAL = State.UP, State.EJECTED, State.TRIAL

# One row per event: where it leads from UP, from EJECTED, from TRIAL.
EXPECTED = {
    Event.ANSWERED: (UP, EJECTED, UP),
    Event.PROVEN: (UP, EJECTED, UP),
    Event.ERRED: (UP, EJECTED, EJECTED),
    Event.FAILED: (EJECTED, EJECTED, EJECTED),
    Event.REFUSED: (EJECTED, EJECTED, EJECTED),
    Event.SPARED: (UP, EJECTED, TRIAL),
    Event.BACKOFF_OVER: (UP, TRIAL, TRIAL),
    Event.CHECKED_WELL: (UP, TRIAL, TRIAL),
    Event.CHECKED_ILL: (EJECTED, EJECTED, EJECTED),
    Event.NOTHING: (UP, EJECTED, TRIAL),
}


class MiddleRng:
    """No jitter."""

    def random(self) -> float:
        return 0.5


def health_in(state: State) -> Health:
    health = Health()
    if state is not UP:
        health.move(Event.REFUSED, 0.0, MiddleRng())
    if state is TRIAL:
        health.move(Event.BACKOFF_OVER, 0.0, MiddleRng())
    return health


def test_the_table_knows_every_event_in_every_state() -> None:
    assert set(TRANSITIONS) == set(product(State, Event))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_each_event_leads_where_it_should(state: State, event: Event) -> None:
    health = health_in(state)
    expected = EXPECTED[event][list(State).index(state)]
    era = health.era
    assert health.move(event, 0.0, MiddleRng()) is (expected is not state)
    assert health.state is expected
    assert health.era == era + (expected is not state)


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (Outcome.SERVED, Event.ANSWERED),
        (Outcome.CLIENT_ERROR, Event.ANSWERED),
        (Outcome.SERVER_ERROR, Event.ERRED),
        (Outcome.CONNECT_FAILED, Event.REFUSED),
        (Outcome.BROKE, Event.FAILED),
        (Outcome.HUNG_UP, Event.ERRED),
        (Outcome.SILENT, Event.FAILED),
        (Outcome.CLIENT_LEFT, Event.NOTHING),
        (Outcome.STALE, Event.NOTHING),
    ],
)
def test_each_outcome_is_one_event(outcome: Outcome, event: Event) -> None:
    assert Health().note(outcome) is event


@pytest.mark.parametrize(("outcome", "most"), [(Outcome.SERVER_ERROR, 1), (Outcome.HUNG_UP, 4)])
def test_errors_in_a_row_are_a_failure(outcome: Outcome, most: int) -> None:
    health = Health()
    assert [health.note(outcome) for _ in range(most + 1)] == [*[Event.ERRED] * most, Event.FAILED]


def test_a_good_reply_between_two_errors_forgives_the_first() -> None:
    health = Health()
    health.note(Outcome.SERVER_ERROR)
    health.note(Outcome.SERVED)
    assert health.note(Outcome.SERVER_ERROR) is Event.ERRED


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_LEFT, Outcome.STALE])
def test_what_is_no_reply_does_not_forgive(outcome: Outcome) -> None:
    health = Health()
    health.note(Outcome.SERVER_ERROR)
    health.note(outcome)
    assert health.note(Outcome.SERVER_ERROR) is Event.FAILED


def test_only_a_refused_connection_spares_nobody() -> None:
    health = health_in(UP)
    spared = {event for event in Event if health.may_be_spared(event)}
    assert spared == {Event.FAILED}
    assert {event for event in Event if health_in(TRIAL).may_be_spared(event)} == {Event.ERRED, Event.FAILED}


def test_the_first_check_decides_alone_and_later_ones_together() -> None:
    assert Health().note_check(False, 0.0, 0.0) is Event.CHECKED_ILL
    health = Health()
    assert health.note_check(True, 0.0, 0.0) is Event.CHECKED_WELL
    assert health.note_check(False, 2.0, 0.0) is Event.NOTHING, "one may be lost"
    assert health.note_check(True, 4.0, 0.0) is Event.CHECKED_WELL
    assert health.note_check(False, 6.0, 0.0) is Event.NOTHING
    assert health.note_check(False, 8.0, 0.0) is Event.CHECKED_ILL


@pytest.mark.parametrize("outcome", [Outcome.SERVER_ERROR, Outcome.SILENT])
def test_a_check_does_not_cut_short_the_back_off_of_what_it_cannot_see(outcome: Outcome) -> None:
    health = health_in(UP)
    health.note(outcome)
    health.move(Event.FAILED, 0.0, MiddleRng())
    assert health.note_check(True, 1.0, 0.0) is Event.NOTHING
    health.note_check(False, 2.0, 0.0)  # it was restarted
    assert health.note_check(True, 3.0, 0.0) is Event.CHECKED_WELL


def test_a_failed_check_puts_the_trial_off() -> None:
    health = health_in(EJECTED)
    health.note_check(False, 10.0, 3.0)
    assert health.retry_at == 13.0


def test_a_trial_lets_one_request_through_until_its_outcome_is_known() -> None:
    health = health_in(TRIAL)
    assert health.takes_requests
    health.take_trial()
    assert not health.takes_requests
    health.note(Outcome.CLIENT_LEFT)
    assert health.takes_requests


def test_back_off_grows_slowly_to_a_bound_and_success_resets_it() -> None:
    health = Health()
    waits = []
    for _ in range(10):
        health.move(Event.REFUSED, 0.0, MiddleRng())
        waits.append(health.retry_at)
        health.move(Event.BACKOFF_OVER, 0.0, MiddleRng())
    assert waits[0] == BACKOFF_FIRST_S
    assert waits[1] == BACKOFF_FIRST_S * BACKOFF_GROWTH
    assert waits[-1] == BACKOFF_MAX_S
    health.move(Event.ANSWERED, 0.0, MiddleRng())
    health.move(Event.REFUSED, 0.0, MiddleRng())
    assert health.retry_at == BACKOFF_FIRST_S


@pytest.mark.parametrize(("outcome", "first_s"), DEAR_BACKOFF_FIRST_S.items())
def test_back_off_is_longer_where_a_trial_costs_a_client_something(outcome: Outcome, first_s: float) -> None:
    health = Health()
    waits = []
    for _ in range(5):
        health.note(outcome)
        health.move(Event.FAILED, 0.0, MiddleRng())
        waits.append(health.retry_at)
        health.move(Event.BACKOFF_OVER, 0.0, MiddleRng())
    assert waits[:2] == [first_s, min(first_s * DEAR_BACKOFF_GROWTH, DEAR_BACKOFF_MAX_S)]
    assert waits[-1] == DEAR_BACKOFF_MAX_S


def test_back_off_is_jittered_within_a_tenth() -> None:
    rng = random.Random(7)
    waits = []
    for _ in range(200):
        health = Health()
        health.move(Event.REFUSED, 0.0, rng)
        waits.append(health.retry_at)
    low, high = BACKOFF_FIRST_S * (1 - BACKOFF_JITTER), BACKOFF_FIRST_S * (1 + BACKOFF_JITTER)
    assert low <= min(waits) < BACKOFF_FIRST_S < max(waits) <= high


def test_each_kind_of_back_off_grows_by_itself() -> None:
    """A worker that was down for minutes and answers its first trial with an error, as it loads its model, is soon
    tried again: that is its first error."""
    health = Health()
    for outcome in (*[Outcome.CONNECT_FAILED] * 8, Outcome.SERVER_ERROR, Outcome.SERVER_ERROR):
        event = health.note(outcome)
        health.move(Event.FAILED if event is Event.ERRED else event, 0.0, MiddleRng())
        wait_s = health.retry_at
        health.move(Event.BACKOFF_OVER, 0.0, MiddleRng())
        if outcome is Outcome.CONNECT_FAILED:
            before_s = wait_s
    first_s = DEAR_BACKOFF_FIRST_S[Outcome.SERVER_ERROR]
    assert (before_s, wait_s) == (BACKOFF_MAX_S, first_s * DEAR_BACKOFF_GROWTH)


@pytest.mark.parametrize("outcome", DEAR_BACKOFF_FIRST_S)
def test_a_trial_is_no_dearer_than_a_refusal_when_nobody_is_in_service(outcome: Outcome) -> None:
    health = Health()
    health.note(outcome)
    health.move(Event.FAILED, 0.0, MiddleRng())
    health.hasten(1.0)
    assert health.retry_at == 1.0 + BACKOFF_FIRST_S
    health.hasten(2.0)
    assert health.retry_at == 1.0 + BACKOFF_FIRST_S, "it only brings it forward"
    health.move(Event.BACKOFF_OVER, 2.0, MiddleRng())
    health.note(outcome)
    health.move(Event.FAILED, 2.0, MiddleRng())
    health.hasten(2.0)
    assert health.retry_at == 2.0 + BACKOFF_FIRST_S * BACKOFF_GROWTH, "each time a little later"


def test_what_a_failed_check_has_put_off_is_not_brought_forward() -> None:
    health = Health()
    health.note(Outcome.SERVER_ERROR)
    health.move(Event.FAILED, 0.0, MiddleRng())
    health.note_check(False, 1.0, 30.0)
    health.hasten(2.0)
    assert health.retry_at == 31.0


def test_a_trial_gives_hope_unless_the_last_check_failed() -> None:
    health, rng = Health(), random.Random(1)
    health.move(health.note(Outcome.CONNECT_FAILED), 0.0, rng)
    assert not health.gives_hope
    health.move(Event.BACKOFF_OVER, 1.0, rng)
    assert health.gives_hope, "nothing is known; without a request it would never be"
    health.move(health.note_check(False, 1.0, 0.0), 1.0, rng)
    health.move(Event.BACKOFF_OVER, 3.0, rng)
    assert health.state is State.TRIAL
    assert not health.gives_hope
    health.move(health.note_check(True, 4.0, 0.0), 4.0, rng)
    assert health.gives_hope


def test_failed_checks_are_in_a_row_only_if_nothing_went_well_between() -> None:
    health = Health()
    health.note_check(True, 0.0, 0.0)
    assert health.note_check(False, 2.0, 0.0) is Event.NOTHING
    assert not health.is_untroubled, "a good reply would change something"
    health.move(health.note(Outcome.SERVED), 3.0, MiddleRng())
    assert health.is_untroubled
    assert health.note_check(False, 3600.0, 0.0) is Event.NOTHING


def test_a_proof_is_no_whole_reply() -> None:
    """Or a backend that cuts each reply would be given all its slots again after half a second, for ever."""
    health, rng = Health(), MiddleRng()
    backoffs = []
    for now in range(0, 100, 10):
        health.move(health.note(Outcome.BROKE), now, rng)
        backoffs.append(health.retry_at - now)
        health.move(Event.BACKOFF_OVER, now + 6.0, rng)
        health.move(Event.PROVEN, now + 7.0, rng)
        assert health.state is State.UP
        assert not health.is_untroubled
    assert backoffs == sorted(backoffs)
    assert backoffs[-1] == BACKOFF_MAX_S
    health.move(health.note(Outcome.SERVED), 200.0, rng)
    assert health.is_untroubled
    health.move(health.note(Outcome.BROKE), 201.0, rng)
    assert health.retry_at - 201.0 == BACKOFF_FIRST_S


def test_replies_are_no_answer_to_a_health_path() -> None:
    health = Health()
    health.note_check(True, 0.0, 3.0)
    health.note_check(False, 2.0, 3.0)
    health.move(health.note(Outcome.SERVED), 3.0, MiddleRng())
    assert health.note_check(False, 4.0, 3.0) is Event.CHECKED_ILL
