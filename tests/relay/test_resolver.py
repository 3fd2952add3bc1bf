"""Names of backends: looked up once for all who wait, and never in the way for longer than a connect may take."""

import asyncio
import socket
from collections.abc import Sequence

import pytest

from ocr_tcp_lb.balance import Outcome
from ocr_tcp_lb.relay.failures import AttemptFailed
from ocr_tcp_lb.relay.readiness import Wakeup
from ocr_tcp_lb.relay.resolver import FRESH_S, USABLE_S, Resolver, SocketEndpoint

from .support import driven, until


class Names:
    """The part of a loop that resolves names, and its clock: each lookup is answered when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[asyncio.Future[list[tuple[object, ...]]]] = []

    def time(self) -> float:
        return self.now

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    def answer(self, *addresses: str) -> None:
        found: list[tuple[object, ...]] = [(socket.AF_INET, 1, 6, "", (address, 80)) for address in addresses]
        self.asked[-1].set_result(found)

    def fail(self) -> None:
        self.asked[-1].set_exception(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))


class Scene:
    def __init__(self) -> None:
        self.names = Names()
        self.resolver = Resolver(self.names, "ocr.internal", 80)  # type: ignore[arg-type]
        self.expired = False
        self.wakeups: list[Wakeup] = []

    def ask(self) -> asyncio.Future[Sequence[SocketEndpoint]]:
        wakeup = Wakeup(asyncio.get_running_loop())
        self.wakeups.append(wakeup)
        return driven(wakeup, self.resolver.addresses(wakeup, lambda: self.expired))

    async def lookups(self, count: int) -> None:
        await until(lambda: len(self.names.asked) == count)

    async def known(self, address: str) -> None:
        asked = self.ask()
        await self.lookups(1)
        self.names.answer(address)
        assert hosts(await asked) == [address]


def hosts(found: Sequence[SocketEndpoint]) -> list[str]:
    return [address[0] for _, address in found]


async def test_all_who_wait_share_one_lookup_and_get_every_address() -> None:
    scene = Scene()
    asked = [scene.ask() for _ in range(3)]
    await scene.lookups(1)
    scene.names.answer("192.0.2.1", "192.0.2.2")
    for one in asked:
        assert hosts(await one) == ["192.0.2.1", "192.0.2.2"]
    assert len(scene.names.asked) == 1


async def test_address_needs_no_lookup() -> None:
    names = Names()
    for address in ("192.0.2.1", "::1"):
        wakeup = Wakeup(asyncio.get_running_loop())
        resolver = Resolver(names, address, 80)  # type: ignore[arg-type]
        assert hosts(await driven(wakeup, resolver.addresses(wakeup, lambda: True))) == [address]
    assert not names.asked


async def test_lookup_that_takes_too_long_is_given_up_and_serves_later_ones() -> None:
    scene = Scene()
    asked = scene.ask()
    await scene.lookups(1)
    scene.expired = True
    scene.wakeups[0].fire()
    with pytest.raises(AttemptFailed, match=r"cannot resolve 'ocr\.internal': timed out") as failure:
        await asked
    assert (failure.value.outcome, failure.value.nothing_sent) == (Outcome.CONNECT_FAILED, True)
    scene.names.answer("192.0.2.1")
    await until(lambda: scene.resolver._lookup is None)
    assert hosts(await scene.ask()) == ["192.0.2.1"]


async def test_wakeup_between_a_lookup_and_its_callbacks_finds_the_addresses() -> None:
    scene = Scene()
    asked = scene.ask()
    await scene.lookups(1)
    scene.names.answer("192.0.2.1")
    lookup = scene.resolver._lookup
    assert lookup is not None
    await until(lookup.done)
    scene.wakeups[0].fire()  # bytes of the client, say
    assert hosts(asked.result()) == ["192.0.2.1"]
    assert hosts(await scene.ask()) == ["192.0.2.1"]
    assert len(scene.names.asked) == 1


async def test_fresh_answer_is_not_asked_for_again() -> None:
    scene = Scene()
    await scene.known("192.0.2.1")
    scene.names.now += FRESH_S - 1
    assert hosts(await scene.ask()) == ["192.0.2.1"]
    assert len(scene.names.asked) == 1


async def test_older_answer_serves_while_a_new_one_is_looked_up() -> None:
    scene = Scene()
    await scene.known("192.0.2.1")
    scene.names.now += FRESH_S
    assert hosts(await scene.ask()) == ["192.0.2.1"]
    await scene.lookups(2)
    scene.names.answer("192.0.2.9")
    await until(lambda: scene.resolver._lookup is None)
    assert hosts(await scene.ask()) == ["192.0.2.9"]


async def test_old_answer_is_used_only_when_no_new_one_can_be_had() -> None:
    scene = Scene()
    await scene.known("192.0.2.1")
    scene.names.now += USABLE_S
    asked = scene.ask()
    await scene.lookups(2)
    assert not asked.done()
    scene.names.fail()
    assert hosts(await asked) == ["192.0.2.1"]


async def test_name_that_nobody_knows_has_sent_nothing() -> None:
    scene = Scene()
    asked = scene.ask()
    await scene.lookups(1)
    scene.names.fail()
    with pytest.raises(AttemptFailed, match=r"cannot resolve .*Temporary failure") as failure:
        await asked
    assert failure.value.nothing_sent
