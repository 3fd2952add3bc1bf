"""Control at run time: backends are drained and put back, and what waits is served."""

import pytest
from relay.support import GET, OK, House, until

from ops.house import watched


async def test_drained_backend_finishes_and_gets_nothing_more(house: House) -> None:
    first, second = house.backend(), house.backend()
    second.answer()
    lb = house.balancer([first, second], policy="round-robin")
    async with watched(lb) as admin:
        busy = await lb.client()
        await busy.send(GET)
        worker = await first.accept()
        await worker.read_message()
        got = await admin.ask("/control/backends/b1/drain", "POST")
        assert got.json == {"backend": "b1", "is_draining": True, "in_flight": 1}
        other = await lb.client()
        for _ in range(3):
            await other.send(GET)
            await other.read_message()
        await worker.send(OK)
        assert (await busy.read_message()).status == 200
    assert [record.backend for record in lb.records] == ["b2", "b2", "b2", "b1"]


async def test_undrain_serves_those_who_wait(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    async with watched(lb) as admin:
        await admin.ask("/control/backends/b1/drain", "POST")
        client = await lb.client()
        await client.send(GET)
        await until(lambda: lb.waiting == 1)
        await admin.ask("/control/backends/b1/undrain", "POST")
        assert (await client.read_message()).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/control/backends/b9/drain", "no_such_backend"),
        ("/control/backends/b1/explode", "no_such_action"),
        ("/control/backends/b1", "no_such_action"),
        ("/control/backends/../b1/drain", "no_such_action"),
        ("/control/backends/b%31/drain", "no_such_action"),
    ],
)
async def test_what_is_not_there_is_said(house: House, path: str, code: str) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        got = await admin.ask(path, "POST")
    assert (got.status, got.json["error"]["code"]) == (404, code)


async def test_button_without_script_leads_back_to_the_page(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        form = {"Content_Type": "application/x-www-form-urlencoded", "Origin": "http://127.0.0.1"}
        got = await admin.ask("/control/backends/b1/drain", "POST", **form)
    assert (got.status, got.fields["location"]) == (303, "/")


async def test_page_of_another_site_drains_nothing(house: House) -> None:
    lb = house.balancer([house.backend()])
    async with watched(lb) as admin:
        for said in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Host": "evil.example"}):
            assert (await admin.ask("/control/backends/b1/drain", "POST", **said)).status in (403, 421)
    assert not lb.hub.fleet.backends[0].is_draining
