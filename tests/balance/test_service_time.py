import pytest

from ocr_tcp_lb.balance.service_time import (
    MEMORY_S,
    OUTLIER_RATIO,
    PEAK_DECAY_S,
    TRUSTED_AFTER,
    PeakEwma,
    ServiceTime,
)


def taught(service_s: float, count: int = TRUSTED_AFTER, now: float = 0.0) -> ServiceTime:
    service = ServiceTime()
    for _ in range(count):
        service.learn(service_s, now)
    return service


def test_a_speed_is_trusted_after_the_first_twenty_answers() -> None:
    service = taught(0.2, TRUSTED_AFTER - 1)
    assert service.expected_s < service.mean_s
    service.learn(0.2, 0.0)
    assert service.expected_s == service.mean_s
    assert service.mean_s == pytest.approx(0.2)


def test_the_answer_that_loaded_the_model_is_left_out() -> None:
    service = ServiceTime()
    service.learn(30.0, 0.0)
    for _ in range(TRUSTED_AFTER - 1):
        service.learn(0.1, 0.0)
    assert service.mean_s == pytest.approx(0.1)


def test_one_outlier_moves_the_mean_by_a_fifth_at_most() -> None:
    service = taught(0.1)
    service.learn(60.0, 0.0)
    assert service.mean_s <= 0.1 * (1 + 0.1 * (OUTLIER_RATIO - 1)) + 1e-9


def test_a_worker_that_became_five_times_slower_is_found_out() -> None:
    service = taught(0.1)
    for _ in range(60):
        service.learn(0.5, 0.0)
    assert service.mean_s == pytest.approx(0.5, rel=0.05)


def test_an_old_estimate_gives_way_to_the_next_answer() -> None:
    service = taught(1.0)
    service.learn(0.1, MEMORY_S)
    assert service.mean_s < 0.55


def test_an_estimate_expires_when_nothing_confirms_it() -> None:
    assert taught(0.1).optimistic_s(MEMORY_S + 1) == 0.0


def test_slow_answers_keep_longer() -> None:
    assert taught(30.0).optimistic_s(MEMORY_S * 5) > 0.0


def test_a_peak_is_believed_at_once_and_forgotten_slowly() -> None:
    peak = PeakEwma()
    peak.learn(0.1, 0.0)
    peak.learn(5.0, 0.0)
    assert peak.value_s(0.0) == 5.0
    peak.learn(0.1, PEAK_DECAY_S)
    assert 1.8 < peak.value_s(PEAK_DECAY_S) < 2.0


def test_a_peak_decays_while_nothing_is_answered() -> None:
    peak = PeakEwma()
    peak.learn(1.0, 0.0)
    assert peak.value_s(PEAK_DECAY_S) == pytest.approx(0.368, abs=0.001)


def test_a_few_answers_are_forgotten_too_or_a_first_one_that_loaded_the_model_would_count_for_ever() -> None:
    service = ServiceTime()
    service.learn(60.0, 0.0)
    assert service.optimistic_s(MEMORY_S) > 0.0
    assert service.optimistic_s(MEMORY_S + 1) == 0.0


def test_a_speed_is_known_while_it_is_trusted_and_has_not_expired() -> None:
    assert not taught(0.1, TRUSTED_AFTER - 1).is_known(0.0)
    assert taught(0.1).is_known(MEMORY_S)
    assert not taught(0.1).is_known(MEMORY_S + 1)
