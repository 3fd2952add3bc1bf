"""The relay's cast, on both event loops."""

from relay.conftest import house, pytest_asyncio_loop_factories

__all__ = ["house", "pytest_asyncio_loop_factories"]
