"""The sweep: deadlines that have passed are told, and an idle balancer has no timer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ocr_tcp_lb.relay.deadlines import NEVER, Deadlines

from .support import replaces_a_part, until


@dataclass(eq=False)
class Thing:
    deadline: float = NEVER
    expired: bool = False
    wakeup: Any = None
    fired: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wakeup = self

    def fire(self) -> None:
        self.fired.append(self.expired)


@replaces_a_part
async def test_passed_deadline_expires_once_and_never_early() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.01)
    thing, patient = Thing(deadline=loop.time() + 0.03), Thing()
    due = thing.deadline
    deadlines.guard(thing)
    deadlines.guard(patient)
    await until(lambda: bool(thing.fired))
    assert loop.time() >= due
    later = Thing(deadline=loop.time())
    deadlines.guard(later)
    await until(lambda: later.expired)
    assert thing.fired == [True], "told once, with the flag set"
    assert not patient.expired
    deadlines.close()


async def test_released_things_are_left_alone() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.01)
    released, kept = Thing(deadline=loop.time()), Thing(deadline=loop.time())
    deadlines.guard(released)
    deadlines.guard(kept)
    deadlines.release(released)
    deadlines.release(released)
    await until(lambda: kept.expired)
    assert not released.expired
    assert len(deadlines) == 1
    deadlines.close()


@replaces_a_part
async def test_one_that_leaves_while_others_are_told_does_no_harm() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.01)

    class Leaver(Thing):
        def fire(self) -> None:
            super().fire()
            deadlines.release(self)

    things = [Leaver(deadline=loop.time()) for _ in range(5)]
    for thing in things:
        deadlines.guard(thing)
    await until(lambda: all(thing.expired for thing in things))
    assert len(deadlines) == 0
    deadlines.close()


async def test_sweep_rests_with_nothing_to_guard_and_comes_back() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.01)
    for _ in range(2):
        thing = Thing(deadline=loop.time())
        deadlines.guard(thing)
        await until(lambda thing=thing: thing.expired)  # type: ignore[misc]
        deadlines.release(thing)
        await until(lambda: deadlines._timer is None)
    deadlines.close()
