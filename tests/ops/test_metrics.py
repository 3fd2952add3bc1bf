"""The metrics as a whole: conventions, and one series for everything worth watching."""

import re

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from relay.support import GET, House, post

from ocr_tcp_lb.ops.metrics import render
from ops.house import watched

UNITS = ("_seconds", "_bytes", "_total", "_info")
BARE = {  # numbers of things, which have no unit
    "queue_length", "queue_limit", "connections", "connections_limit", "ready", "draining", "backend_state",
    "backend_draining",
    "backend_in_service",
    "backend_silent", "backend_in_flight", "backend_slots", "backend_concurrency", "backend_weight",
}  # fmt: skip


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_names_follow_the_conventions(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        text = render(admin.monitor)
    assert len(re.findall("^# TYPE ", text, re.M)) == len(re.findall("^# HELP ", text, re.M)) == len(families(text))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        bare = name.removeprefix("ocr_tcp_lb_")
        assert bare in BARE or bare.endswith(UNITS) or name.startswith("process_"), name
        assert (kind == "counter") == name.endswith("_total"), name


async def test_help_of_a_metric_stands_alone(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        text = render(admin.monitor)
    for name, said in re.findall(r"^# HELP (\S+) (.*)$", text, re.M):
        assert "backend" in said or not name.startswith("ocr_tcp_lb_backend_"), name
        assert not re.match(r"(Of these|Those|Its)\b|.*\bthey\b", said), said


async def test_series_of_a_backend_exist_before_its_first_request(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        found = families(render(admin.monitor))
    errors = found["ocr_tcp_lb_request_errors"].samples
    assert [(one.labels, one.value) for one in errors] == [({"backend": "b1"}, 0)]
    states = {one.labels["state"]: one.value for one in found["ocr_tcp_lb_backend_state"].samples}
    assert states == {"up": 1, "ejected": 0, "trial": 0}


async def test_values_are_those_of_the_moment(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    async with watched(lb) as admin:
        client = await lb.client()
        await client.send(post(b"x" * 100))
        worker = await backend.accept()
        await worker.read_message()

        def value(name: str) -> float:
            (sample,) = families(render(admin.monitor))[f"ocr_tcp_lb_{name}"].samples
            return float(sample.value)

        assert (value("backend_in_flight"), value("connections"), value("ready")) == (1, 1, 1)
        assert value("received_bytes") == 0, "counted when the request has ended"
        await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
        await client.read_message()
        await lb.record()
        assert (value("backend_in_flight"), value("received_bytes"), value("sent_bytes")) == (0, 100, 3)


async def test_process_is_described(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        found = families(render(admin.monitor))
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6
    assert found["process_open_fds"].samples[0].value > 3
    labels = found["ocr_tcp_lb_build_info"].samples[0].labels
    assert labels == {"version": "1.2.3", "python": "3.11.2", "loop": "asyncio", "mode": "http"}


async def test_lag_is_measured(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    async with watched(lb) as admin:
        admin.monitor._timer.cancel()
        admin.monitor._look()
        client = await lb.client()
        await client.send(GET)
        await client.read_message()
        assert families(render(admin.monitor))["ocr_tcp_lb_event_loop_lag_seconds"].samples[-1].value == 1
