"""The relay's cast, for tests that look at a running balancer; on both event loops."""

from collections.abc import AsyncIterator

import pytest
from relay.conftest import pytest_asyncio_loop_factories
from relay.support import House, open_descriptors, until

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """The cast of a test; afterwards every descriptor is closed."""
    before = described()
    house = House()
    try:
        yield house
    finally:
        await house.close()
    await until(lambda: not described() - before)


def described() -> set[int]:
    """The open descriptors, without the one of /dev/null that libuv keeps for when there are none left."""
    return {fd for fd, what in open_descriptors().items() if what != "/dev/null"}
