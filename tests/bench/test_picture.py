"""The picture of CPU times, and that it can be made again from the figures of a run."""

import xml.etree.ElementTree as ET
from pathlib import Path

from bench import picture, report
from bench.runner import Sample


def sample(peer: str, cpu_us: float, variant: str = "") -> Sample:
    return Sample("get-1k", variant, peer, 0, 100, cpu_us, 1.0, 1.0, 2.0, 3.0, 30.0, None, {})


def test_a_row_has_a_mark_for_each_peer_but_haproxy_which_is_the_line() -> None:
    samples = [sample("ours", 15), sample("haproxy", 30), sample("nginx", 60), sample("direct", 0)]
    assert picture.rows_of(samples) == [("1 KB GET, keep-alive", {"ours": 0.5, "nginx": 2.0})]
    drawn = picture.picture(samples, "a machine")
    ET.fromstring(drawn)
    assert "<title>ocr_tcp_lb: 0.50</title>" in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_variants_are_compared_with_haproxy_in_the_same_one() -> None:
    samples = [sample("ours", 15, "a"), sample("haproxy", 30, "a"), sample("ours", 9, "b"), sample("haproxy", 3, "b")]
    assert picture.rows_of(samples) == [("1 KB GET, a", {"ours": 0.5}), ("1 KB GET, b", {"ours": 3.0})]


def test_there_is_no_picture_without_haproxy() -> None:
    assert picture.picture([sample("ours", 15)], "a machine") == ""


def test_a_picture_is_made_again_from_what_was_written(tmp_path: Path) -> None:
    where = report.conditions("python -m bench", {})
    written = report.write(tmp_path, [sample("ours", 15), sample("haproxy", 30)], where)
    assert picture.main([str(written.with_suffix(".json")), str(tmp_path / "docs" / "cpu.svg")]) == 0
    assert "<title>ocr_tcp_lb: 0.50</title>" in (tmp_path / "docs" / "cpu.svg").read_text()
    assert "| 15.0 | 0.50 |" in written.read_text()
