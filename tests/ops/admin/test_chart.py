"""Charts: scales that people like, gaps where nothing was, words escaped."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from ocr_tcp_lb.ops.admin.chart import HEIGHT, SPAN_S, WIDTH, Series, chart, nice_top

NOW = 1000.0


def lines_of(drawn: str) -> list[str]:
    return re.findall(r'class="line \w+" d="([^"]+)"', drawn)


def draw(values: list[float | None], *, filled: bool = False) -> str:
    times = [NOW - SPAN_S + SPAN_S * (number + 1) / len(values) for number in range(len(values))]
    return chart("A & B", "ms", times, [Series("<p50>", "c1", values, filled)], NOW)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (1, 1), (1.1, 1.5), (2, 2), (2.5, 3), (7, 8), (9, 10), (11, 15), (4321, 5000)]
)
def test_scale_ends_at_a_round_number(most: float, top: float) -> None:
    assert nice_top(most) == top


def test_newest_value_is_at_the_right_edge_and_the_largest_near_the_top() -> None:
    (line,) = lines_of(draw([0.0, 10.0]))
    assert line.endswith(f"L{WIDTH:.1f} 0.0")
    assert line.startswith(f"M{WIDTH / 2:.1f} {HEIGHT:.1f}")


def test_gap_interrupts_the_line_and_a_lonely_value_still_shows() -> None:
    lines = lines_of(draw([1.0, 2.0, None, 3.0, None]))
    assert len(lines) == 2
    assert lines[1].count("L") == 1


def test_area_is_closed_to_the_ground() -> None:
    assert f"{HEIGHT}Z" in draw([1.0, 2.0], filled=True)


def test_latest_value_is_in_the_legend_unless_it_is_long_ago() -> None:
    assert "<b>4.5</b>" in draw([1.0, 4.5, None])
    assert "<b>-</b>" in draw([1.0, *([None] * 20)])


def test_words_are_escaped_and_the_result_is_well_formed() -> None:
    for values in ([], [None], [1.0, 2.0]):
        drawn = draw(values) if values else chart("A & B", "ms", [], [Series("<p50>", "c1", [])], NOW)
        assert ElementTree.fromstring(drawn).tag == "figure"
        assert "&lt;p50&gt;" in drawn
