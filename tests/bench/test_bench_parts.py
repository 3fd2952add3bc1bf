"""The parts of the benchmark that decide what its figures say."""

import os
import time

import pytest

from bench import measure, report
from bench.backend import Chunks
from bench.runner import Sample
from bench.workloads import MIB, WORKLOADS, chunked_upload, varied_post


def sample(peer: str, turn: int, cpu_us: float) -> Sample:
    return Sample("get-1k", peer, turn, 100, cpu_us, 1000.0, 1.0, 2.0, 30.0, {})


def test_ratio_is_taken_within_each_turn() -> None:
    ours = [sample("ours", 0, 30), sample("ours", 1, 300), sample("ours", 2, 33)]
    haproxy = [sample("haproxy", 0, 20), sample("haproxy", 1, 200), sample("haproxy", 2, 30)]
    assert report.ratio_to(ours, haproxy) == 1.5
    assert report.ratio_to(ours, []) is None


def test_table_shows_median_and_spread() -> None:
    lines = report.table([sample("ours", turn, cpu) for turn, cpu in enumerate((40.0, 30.0, 110.0))], "haproxy")
    assert "40.0 (30.0-110)" in lines[2]


def test_load_average_and_versions_stand_beside_the_figures() -> None:
    text = report.markdown([sample("ours", 0, 1)], report.conditions("python -m bench", {"nginx": "1.22.1"}))
    assert "`python -m bench`" in text
    assert "- nginx: 1.22.1" in text


@pytest.mark.parametrize("step", [1, 7, 65_536, 5 * MIB])
def test_chunked_bodies_are_counted_however_they_arrive(step: int) -> None:
    size = 1_000 if step < 100 else 4 * MIB
    body = memoryview(chunked_upload(size).partition(b"\r\n\r\n")[2])
    chunks = Chunks()
    for start in range(0, len(body), step):
        assert not chunks.done
        chunks.feed(body[start : start + step])
    assert chunks.done
    assert chunks.payload == size


def test_every_varied_request_differs_and_names_its_true_length() -> None:
    requests = [varied_post(number) for number in range(50)]
    assert len(set(requests)) == 50
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head


def test_workload_names_are_unique() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_cpu_time_of_a_process_is_seen_from_outside() -> None:
    before_s = measure.cpu_s(os.getpid())
    own_s = time.process_time()
    while time.process_time() - own_s < 0.02:
        pass
    assert 0.02 <= measure.cpu_s(os.getpid()) - before_s < 5
    assert os.getpid() in measure.tree(os.getppid())
