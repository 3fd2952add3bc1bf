"""The processes of the end-to-end tests, and more descriptors."""

import resource
from collections.abc import Iterator

import pytest
from e2e.conftest import loop_name, start_balancer

__all__ = ["loop_name", "start_balancer"]

WANTED_DESCRIPTORS = 10_000


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many as may be had; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
