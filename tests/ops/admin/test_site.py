"""The pages: what is there, what is not, and what each says."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from relay.support import GET, House, reply

from ocr_tcp_lb.ops.admin.gate import Gate
from ocr_tcp_lb.ops.admin.http import Reply, Request
from ocr_tcp_lb.ops.admin.site import Site
from ocr_tcp_lb.ops.exposition import CONTENT_TYPE
from ops.house import LOCALHOST, watched


async def test_every_page_is_there_and_nothing_else(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        for path in ("/", "/status.json", "/metrics", "/healthz", "/readyz"):
            got = await admin.ask(path)
            assert (got.status, got.fields["cache-control"]) == (200, "no-store")
        for path in ("/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "//", "/metrics/", "/control", "/healthz%00"):
            assert (await admin.ask(path)).status == 404


@pytest.mark.parametrize("after", ["9" * 5000, "-1", "%C2%B2", "x", ""])
async def test_history_after_nonsense_is_all_of_it(house: House, after: str) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        admin.monitor.end_step(admin.lb.hub.loop.time())
        assert len((await admin.ask(f"/status.json?after={after}")).json["history"]) == 1


async def test_host_of_an_absolute_target_counts(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        assert (await admin.ask("http://evil.example/status.json")).status == 421
        assert (await admin.ask("http://127.0.0.1/status.json", Host="evil.example")).status == 200


@pytest.mark.parametrize(("method", "path", "allowed"), [("POST", "/", "GET, HEAD"), ("GET", "/control/x", "POST")])
async def test_other_methods_are_told_which_there_are(house: House, method: str, path: str, allowed: str) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        got = await admin.ask(path, method)
    assert (got.status, got.fields["allow"]) == (405, allowed)


async def test_metrics_are_of_the_announced_type_and_parse(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    async with watched(lb) as admin:
        client = await lb.client()
        await client.send(GET)
        await client.read_message()
        await lb.record()
        got = await admin.ask("/metrics")
    assert got.fields["content-type"] == CONTENT_TYPE
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
    }
    labels = (("backend", "b1"), ("ending", "ok"), ("status", "200"))
    assert samples["ocr_tcp_lb_requests_total", labels] == 1


async def test_requests_come_between_the_metrics_of_many_services(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        asked = Site(admin.monitor, Gate(LOCALHOST)).answer(Request("GET", "/metrics", fields={"host": "localhost"}))
        turns = 0

        def take_turns() -> Reply:
            nonlocal turns
            while True:
                try:
                    asked.send(None)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]
                turns += 1

        assert take_turns().body.count(b"# TYPE ") == turns


async def test_readiness_ends_with_the_last_backend_and_with_the_drain(house: House) -> None:
    lb = house.balancer([house.backend(), house.backend()])
    async with watched(lb) as admin:
        for name in ("b1", "b2"):
            assert (await admin.ask("/readyz")).status == 200
            assert (await admin.ask(f"/control/backends/{name}/drain", "POST")).status == 200
        got = await admin.ask("/readyz")
        assert (got.status, got.body) == (503, b"not ready: no backend is in service\n")
        assert (await admin.ask("/control/backends/b2/undrain", "POST")).json["is_draining"] is False
        assert (await admin.ask("/readyz")).status == 200
        lb.hub.is_draining = True
        got = await admin.ask("/readyz")
        assert (got.status, got.body) == (503, b"not ready: draining\n")
        assert (await admin.ask("/healthz")).status == 200


async def test_status_says_what_the_clients_saw(house: House) -> None:
    good, bad = house.backend(), house.backend()
    good.answer()
    bad.answer(lambda request: reply(b"no", status=b"500 Broken"))
    lb = house.balancer([good, bad], policy="round-robin")
    seen = []
    async with watched(lb) as admin:
        client = await lb.client()
        for _ in range(6):
            await client.send(GET)
            seen.append((await client.read_message()).status)
        await lb.record(5)
        lb.hub.loop.time()
        admin.monitor.end_step(lb.hub.loop.time())
        state = (await admin.ask("/status.json")).json
        later = (await admin.ask("/status.json?after=1")).json
    errors = seen.count(500)
    assert (state["requests"], state["errors"]) == (6, errors)
    assert [one["requests"] for one in state["backends"]] == [6 - errors, errors]
    assert [one["errors"] for one in state["backends"]] == [0, errors]
    assert [one["status"] for one in state["recent_errors"]] == [500] * errors
    assert state["backends"][1]["state"] == "ejected"
    assert state["backends"][1]["trial_in_s"] > 5
    assert state["backends"][0]["limit"] is None, "unbounded is null in JSON"
    assert [point["number"] for point in state["history"]] == [1]
    assert later["history"] == []
