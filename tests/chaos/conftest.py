"""Four workers, three of them behind a balancer at first."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .fleet import Balancer, Worker

StartBalancer = Callable[..., Balancer]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for number in range(1, 5):
            started.append(Worker(f"b{number}", tmp_path))
            started[-1].start()
        yield started
    finally:
        for worker in started:
            worker.close()


@pytest.fixture
def start_balancer(tmp_path: Path, workers: list[Worker]) -> Iterator[StartBalancer]:
    """Starts one with lines for its file."""
    running: list[Balancer] = []

    def start(*settings: str) -> Balancer:
        running.append(Balancer(tmp_path, workers[:3], *settings))
        return running[-1]

    yield start
    for balancer in running:
        balancer.close()


@pytest.fixture
def balancer(start_balancer: StartBalancer) -> Balancer:
    return start_balancer()
