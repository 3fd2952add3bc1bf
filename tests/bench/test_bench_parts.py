"""The parts of the benchmark that decide what its figures say."""

import os
import time
from dataclasses import replace

import pytest

from bench import measure
from bench.backend import Chunks, Frames
from bench.figures import added_ms, ratios, spread
from bench.messages import ASKED, MIB, SERVED, chunked_upload, direct, echo, get, message, varied_post
from bench.peers import BY_NAME as PEERS
from bench.replies import Echo, HttpReply
from bench.report import conditions, markdown, table
from bench.runner import Sample, shrunk
from bench.summary import summary
from bench.workloads import BY_NAME as WORKLOADS
from bench.workloads import WORKLOADS as IN_ORDER


def sample(peer: str, turn: int, cpu_us: float, variant: str = "", p50_ms: float = 1.0) -> Sample:
    return Sample("get-1k", variant, peer, turn, 100, cpu_us, 1000.0, p50_ms, 2.0, 3.0, 30.0, None, {})


def test_ratio_is_taken_within_each_turn() -> None:
    ours = [sample("ours", 0, 30), sample("ours", 1, 300), sample("ours", 2, 33)]
    haproxy = [sample("haproxy", 0, 20), sample("haproxy", 1, 200), sample("haproxy", 3, 30)]
    assert ratios(ours, haproxy) == [1.5, 1.5]
    assert ratios(ours, []) == []


def test_no_ratio_is_made_of_a_peer_without_a_process() -> None:
    assert ratios([sample("direct", 0, 0.0)], [sample("haproxy", 0, 20)]) == []
    assert added_ms([sample("ours", 0, 9, p50_ms=1.5)], [sample("direct", 0, 0.0, p50_ms=1.0)]) == [0.5]


def test_median_stands_with_its_spread() -> None:
    assert spread([40.0, 30.0, 110.0]) == "40.0 (30.0-110)"
    assert spread([7.0]) == "7.00"
    assert spread([]) == "-"


def test_table_compares_with_haproxy_in_the_same_variant_and_with_itself_in_the_first() -> None:
    lines = table(
        [
            sample("ours", 0, 40, "few"),
            sample("haproxy", 0, 20, "few"),
            sample("ours", 0, 60, "many"),
            sample("haproxy", 0, 120, "many"),
        ],
        "haproxy",
    )
    titles = [cell.strip() for cell in lines[0].split("|")]
    many = [cell.strip() for cell in lines[4].split("|")]
    assert "many" in many
    assert many[titles.index("to HAProxy")] == "0.50"
    assert many[titles.index("to itself, few")] == "1.50"
    assert "KiB an idle client" not in titles


def test_short_table_has_a_row_for_each_variant_and_a_column_for_each_balancer() -> None:
    lines = summary([sample("ours", 0, 30), sample("haproxy", 0, 20), sample("nginx", 0, 240), sample("direct", 0, 0)])
    assert lines[2] == "| 1 KB GET, keep-alive | 30.0 | 20.0 | - | 240 | - | - | - | 1.50 |"
    other_mode = [
        replace(sample(peer, 0, cpu), workload="l4-1k") for peer, cpu in (("ours-tcp", 3), ("haproxy-tcp", 2))
    ]
    assert summary(other_mode)[2].endswith("| 3.0 | 2.0 | - | - | - | - | - | 1.50 |")


def test_conditions_and_errors_stand_beside_the_figures() -> None:
    one = sample("ours", 0, 1)
    one.errors["no reply"] = 3
    text = markdown([one], conditions("python -m bench", {"nginx": "1.22.1"}))
    assert "`python -m bench`" in text
    assert "- nginx: 1.22.1" in text
    assert "ours, turn 1: 3 x no reply" in text


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


@pytest.mark.parametrize("step", [1, 1000, 5000])
def test_messages_come_back_without_their_mask_however_they_arrive(step: int) -> None:
    frames, reply = Frames(), Echo(1024)
    stream = 2 * message(1024)
    answers = b"".join(frames.feed(memoryview(stream[start : start + step])) for start in range(0, len(stream), step))
    assert answers == 2 * echo(1024)
    assert reply.feed(answers[:1028])
    assert reply.error == ""


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b'{"received": 0,'.ljust(1024), ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b'{"received": 7,'.ljust(1024), "not all of the body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b'{"received": 0,'.ljust(1025), "bytes after the reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "3 bytes instead of 1024"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "503 Busy"),
    ],
)
def test_a_reply_that_is_not_as_it_must_be_is_found_out(reply: bytes, error: str) -> None:
    judge = HttpReply(WORKLOADS["get-1k"])
    assert not judge.feed(reply[:20])
    assert judge.feed(reply[20:])
    assert error in judge.error
    assert bool(error) == bool(judge.error)


def test_a_request_without_balancer_looks_as_if_there_were_one() -> None:
    request = direct(get(f"{ASKED}?a=1"))
    assert request.startswith(b"GET %b?a=1 HTTP/1.1\r\nX-Forwarded-For: " % SERVED.encode())
    assert request.endswith(b"\r\n\r\n")


def test_every_varied_request_differs_and_names_its_true_length() -> None:
    requests = [varied_post(number) for number in range(50)]
    assert len(set(requests)) == 50
    for request in requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(body) in head


def test_workloads_have_names_of_their_own_and_known_peers_of_one_mode() -> None:
    assert len(WORKLOADS) == len(IN_ORDER)
    for workload in IN_ORDER:
        assert {PEERS[name].mode for name in workload.peers} == {workload.mode}
        assert len({variant.name for variant in workload.variants}) == len(workload.variants)


def test_in_a_smoke_run_requests_still_wait_where_they_are_to_wait() -> None:
    waiting = shrunk(WORKLOADS["queue"]).variants[-1]
    assert waiting.clients > waiting.concurrency * waiting.services


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_cpu_time_and_memory_of_a_process_are_seen_from_outside() -> None:
    before_s = measure.cpu_s(os.getpid())
    own_s = time.process_time()
    while time.process_time() - own_s < 0.02:
        pass
    assert 0.02 <= measure.cpu_s(os.getpid()) - before_s < 5
    assert os.getpid() in measure.tree(os.getppid())
    assert 1 < measure.rss_mib(os.getpid()) <= measure.peak_rss_mib(os.getpid())
