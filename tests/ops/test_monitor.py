"""Looking at the running balancer: what a look notes, and the line for systemd."""

import random
import socket
from pathlib import Path

from relay.support import GET, House, until

from ocr_tcp_lb.balance.health import Event
from ocr_tcp_lb.ops.monitor import Monitor
from ocr_tcp_lb.ops.systemd import Notifier
from ops.house import watched


async def test_step_keeps_the_deepest_queue_seen_in_it(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], policy="round-robin")
    async with watched(lb) as admin:
        monitor = admin.monitor
        lb.hub.drain(lb.hub.fleet.backends[0])
        client = await lb.client()
        await client.send(GET)
        await until(lambda: lb.waiting == 1)
        monitor._timer.cancel()
        monitor._look()
        lb.hub.undrain(lb.hub.fleet.backends[0])
        backend.answer()
        await client.read_message()
        monitor.end_step(lb.hub.loop.time())
        (point,) = monitor.history.after(0)
    assert point.waiting == 1


async def test_each_ejection_is_counted_once(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend, house.backend()])
    async with watched(lb) as admin:
        health = lb.hub.fleet.backends[0].health
        rng = random.Random(1)
        out_and_in = (Event.REFUSED, Event.NOTHING, Event.BACKOFF_OVER)
        for event in (*out_and_in, Event.FAILED, Event.BACKOFF_OVER, Event.ANSWERED):
            health.move(event, 0.0, rng)
            for _ in range(2):
                admin.monitor._timer.cancel()
                admin.monitor._look()
        assert admin.monitor.ejections == {"b1": 2, "b2": 0}
        state = (await admin.ask("/status.json")).json
    assert [one["ejections"] for one in state["backends"]] == [2, 0]


async def test_ejection_that_ends_between_two_looks_is_counted(house: House) -> None:
    lb = house.balancer([house.backend(), house.backend()])
    async with watched(lb) as admin:
        health = lb.hub.fleet.backends[1].health
        for event in (Event.REFUSED, Event.CHECKED_WELL, Event.ANSWERED, Event.FAILED, Event.CHECKED_WELL):
            health.move(event, 0.0, random.Random(1))
        admin.monitor._timer.cancel()
        admin.monitor._look()
        assert admin.monitor.ejections["b2"] == 2


async def test_systemd_is_told_when_a_backend_goes_and_not_again(house: House, tmp_path: Path) -> None:
    lb = house.balancer([house.backend(), house.backend()])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        async with watched(lb) as admin:
            admin.monitor.close()
            monitor = Monitor(lb.hub, lb.server, admin.monitor.intake, admin.monitor.about, notifier=notifier)
            for drained in (None, 0, None):
                if drained is not None:
                    lb.hub.drain(lb.hub.fleet.backends[drained])
                monitor._step_began -= 10
                monitor._timer.cancel()
                monitor._look()
            monitor.close()
        notifier.close()
        said = [manager.recv(1000), manager.recv(1000)]
    assert said == [b"STATUS=2 of 2 backends in service", b"STATUS=1 of 2 backends in service"]
