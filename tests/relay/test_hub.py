"""What all connections share: ids, leases handed on, and the clock that brings ejected backends back."""

import logging
import re

import pytest

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.waiting import wait as wait_for

from .support import GET, House, driven, guest, until

SOMEWHERE = [BackendConfig("b1", "127.0.0.1", 1, concurrency=1)]


async def test_request_ids_differ_within_and_between_balancers(house: House) -> None:
    hubs = [house.balancer(SOMEWHERE).hub for _ in range(2)]
    ids = {hub.new_request_id() for hub in hubs for _ in range(1000)}
    assert len(ids) == 2000
    assert all(one.isalnum() for one in ids)


async def test_freed_slot_is_handed_to_whoever_waits(house: House) -> None:
    lb = house.balancer(SOMEWHERE)
    client, far = guest(lb)
    first, second = Claim(lb.hub, client, None), Claim(lb.hub, client, None)
    lease = first.ask()
    assert isinstance(lease, Lease)
    assert second.ask() is None
    first.settle(Outcome.SERVED)
    assert lb.in_flight() == 1
    second.settle(Outcome.SERVED)
    client.close()
    far.close()


async def test_ejected_backend_is_tried_again_without_anybody_asking(house: House) -> None:
    lb = house.balancer(SOMEWHERE)
    client, far = guest(lb)
    first, waiting = Claim(lb.hub, client, None), Claim(lb.hub, client, None)
    assert first.ask() is not None
    first.settle(Outcome.CONNECT_FAILED)
    assert waiting.ask() is None
    wait = driven(client.wakeup, wait_for(waiting, watch_client=False))
    await until(wait.done)
    waiting.settle(Outcome.SERVED)
    client.close()
    far.close()


async def test_closed_hub_has_no_timer_left(house: House) -> None:
    lb = house.balancer(SOMEWHERE)
    client, far = guest(lb)
    claim = Claim(lb.hub, client, None)
    claim.ask()
    claim.settle(Outcome.CONNECT_FAILED)
    lb.hub.close()
    assert lb.hub._tick_timer is None
    client.close()
    far.close()


async def test_request_held_for_a_faster_backend_is_let_go_in_time(house: House) -> None:
    fast, slow = (BackendConfig(name, "127.0.0.1", 1, concurrency=1) for name in ("fast", "slow"))
    lb = house.balancer([fast, slow])
    client, far = guest(lb)
    holder, held = Claim(lb.hub, client, None), Claim(lb.hub, client, None)
    for backend, service_s in zip(lb.hub.fleet.backends, (0.001, 0.03), strict=True):
        for _ in range(30):
            backend.service.learn(service_s, holder.arrived_at)
        lb.hub.undrain(backend)
    assert holder.ask() is not None
    assert held.ask() is None
    wait = driven(client.wakeup, wait_for(held, watch_client=True))
    assert (await wait).backend.name == "slow"
    holder.settle(Outcome.SERVED)
    held.settle(Outcome.SERVED)
    client.close()
    far.close()


async def test_burst_on_a_fresh_balancer_of_one_backend_is_served_whole(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    clients = [await lb.client() for _ in range(60)]
    for client in clients:
        await client.send(GET)
    assert [(await client.read_message()).status for client in clients] == [200] * 60


async def test_ejection_and_return_are_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lb = house.balancer(SOMEWHERE)
    client, far = guest(lb)
    refused, waiting = Claim(lb.hub, client, None), Claim(lb.hub, client, None)
    assert refused.ask() is not None
    refused.settle(Outcome.CONNECT_FAILED)
    assert waiting.ask() is None
    await driven(client.wakeup, wait_for(waiting, watch_client=False))
    waiting.settle(Outcome.SERVED)
    lb.hub.review()
    said = [(record.levelname, record.getMessage()) for record in caplog.records if "backend b1" in record.getMessage()]
    (bad, ejected), (good, back) = said
    assert (bad, good) == ("WARNING", "INFO")
    assert re.fullmatch(r"backend b1 is ejected for 0\.[45] s: it could not be connected to", ejected)
    assert re.fullmatch(r"backend b1 is back after 0\.\d s", back)
    lb.hub.review()
    assert len(caplog.records) == len(said), "told once"
    client.close()
    far.close()
