import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.settings.faults import BadValue
from ocr_tcp_lb.settings.values import (
    CONCURRENCY,
    FLAG,
    NAME,
    SEND_PROXY,
    WEIGHT,
    Kind,
    choice,
    count,
    duration,
    or_off,
    size,
)

MIB = 1024 * 1024
TIME = duration()
SIZE = size(0, 2**50)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("0.5", 0.5), (".5", 0.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("60s", 60)],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert TIME.parse(text) == seconds


BAD_DURATIONS = ["", "x", "-1", "nan", "inf", "1e400", "3 days", "1_0", "٣", "0", "0ms", "721h"]


@pytest.mark.parametrize("text", BAD_DURATIONS)
def test_what_is_no_usable_duration_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        TIME.parse(text)
    assert caught.value.right.startswith("write")


def test_zero_is_a_duration_only_where_it_makes_sense() -> None:
    assert duration(zero=True).parse("0") == 0


SIZES = {"65536": 65536, "64MiB": 64 * MIB, "8M": 8 * MIB, "8m": 8 * MIB, "1 GiB": 1024 * MIB}
SIZES |= {"10kB": 10_000, "10k": 10_240, "1.5K": 1536, "0": 0, "12B": 12}


@pytest.mark.parametrize(("text", "size_bytes"), SIZES.items())
def test_sizes_are_read_in_bytes(text: str, size_bytes: int) -> None:
    assert SIZE.parse(text) == size_bytes


@pytest.mark.parametrize("text", ["", "x", "-1", "3X", "1.5", "nan", "1e3", "M", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        SIZE.parse(text)


def test_size_out_of_range_names_the_range() -> None:
    with pytest.raises(BadValue) as caught:
        size(1024, MIB).parse("2M")
    assert caught.value.right == "write 1KiB to 1MiB"


@pytest.mark.parametrize("text", ["", "-1", "11", "1.0", "true", "9" * 5000])
def test_counts_are_whole_and_within_bounds(text: str) -> None:
    assert count(0, 10).parse("10") == 10
    with pytest.raises(BadValue):
        count(0, 10).parse(text)


def test_unknown_word_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadValue) as caught:
        choice("queue", "random").parse("quee")
    assert caught.value.right == "did you mean queue?"


def test_concurrency_is_auto_or_at_least_one() -> None:
    assert CONCURRENCY.parse("auto") == "auto"
    assert CONCURRENCY.parse("4") == 4
    for text in ("0", "-1", "1.5", "Auto", ""):
        with pytest.raises(BadValue):
            CONCURRENCY.parse(text)


def test_value_or_off_is_shown_as_it_is_read() -> None:
    kind = or_off(count(1, 9))
    assert (kind.parse("off"), kind.parse("9"), kind.metavar) == (None, 9, "N|off")
    assert (kind.show(None), kind.show(9)) == ("off", 9)
    with pytest.raises(BadValue):
        kind.parse("10")


@pytest.mark.parametrize("text", ["-1", "-0.5", "0.0001", "nan", "inf", "heavy", "1001"])
def test_weights_are_finite_shares_or_zero(text: str) -> None:
    assert (WEIGHT.parse("2.5"), WEIGHT.parse("0")) == (2.5, 0)
    with pytest.raises(BadValue):
        WEIGHT.parse(text)


def test_flags_are_yes_or_no() -> None:
    assert FLAG.parse("true") is FLAG.parse("Yes") is True
    assert FLAG.parse("off") is FLAG.parse("0") is False
    with pytest.raises(BadValue):
        FLAG.parse("maybe")


@pytest.mark.parametrize("text", ["", "a b", "a,b", 'a"', "é", "a" * 65, "a\n", "-", ".", "..", "-a"])
def test_names_hold_nothing_that_a_log_line_would_have_to_quote(text: str) -> None:
    assert NAME.parse("gpu-1.left_2") == "gpu-1.left_2"
    assert NAME.parse("_1") == "_1"
    with pytest.raises(BadValue):
        NAME.parse(text)


def reads_back(kind: Kind, value: object) -> bool:
    return bool(kind.parse(str(kind.show(value))) == value)


@given(st.floats(min_value=1e-6, max_value=2_592_000, allow_nan=False))
def test_shown_duration_reads_back(seconds: float) -> None:
    assert reads_back(TIME, seconds)


@given(st.integers(0, 2**50), st.sampled_from([1, 1024, MIB]))
def test_shown_size_reads_back(number: int, unit: int) -> None:
    assert reads_back(size(0, 2**80), min(number * unit, 10**14))


@given(st.floats(min_value=0.001, max_value=1000))
def test_shown_weight_reads_back(weight: float) -> None:
    assert reads_back(WEIGHT, weight)


def refusal_of(kind: Kind, text: str) -> BadValue | None:
    try:
        kind.parse(text)
    except BadValue as bad:
        return bad
    return None


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_advice(text: str) -> None:
    for kind in (TIME, SIZE, WEIGHT, FLAG, NAME, CONCURRENCY, SEND_PROXY, count(0, 9), choice("a", "b")):
        refusal = refusal_of(kind, text)
        assert refusal is None or (refusal.wrong and refusal.right)
