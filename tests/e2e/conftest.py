"""Services and balancers that the end-to-end tests share: each is started when first asked for, and kept."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.processes import Balancer, Child, start_service

KINDS = ("flask-threaded", "flask-single", "gunicorn-sync", "uvicorn")
LOOPS = ("uvloop", "asyncio")
PATHS = ("/get_ocr_api", "/get_ocr", "/get_ocr_api")  # what three services that grew apart answer on

StartBalancer = Callable[..., Balancer]
StartService = Callable[..., tuple[Child, str]]


@pytest.fixture(params=LOOPS, scope="session")
def loop_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed here")
    return name


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of the service of a kind."""
    running: dict[str, tuple[Child, str]] = {}

    def url_of(kind: str) -> str:
        if kind not in running:
            running[kind] = start_service(kind, tmp_path_factory.mktemp(kind), name=kind)
        return running[kind][1]

    yield url_of
    for child, _ in running.values():
        child.end()


@pytest.fixture(params=KINDS, scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def front(
    kind: str, loop_name: str, services: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a balancer before one service, for each kind of service and loop."""
    room = ("--queue-size", "100")  # 50 clients wait for one service; by default 16 may
    balancer = Balancer(tmp_path_factory.mktemp("balancer"), [services(kind)], "--loop", loop_name, *room)
    yield balancer.url
    assert balancer.end() == 0
    assert "Traceback" not in balancer.stderr_path.read_text()


@pytest.fixture(scope="session")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of three Flask services with the paths of `PATHS`, called s0 to s2."""
    directory = tmp_path_factory.mktemp("trio")
    started = [
        start_service("flask-threaded", directory / f"s{number}", name=f"s{number}", path=path)
        for number, path in enumerate(PATHS)
    ]
    yield [url for _, url in started]
    for child, _ in started:
        child.end()


@pytest.fixture
def start_balancer(tmp_path: Path) -> Iterator[StartBalancer]:
    """Starts balancers that end with the test."""
    running: list[Balancer] = []

    def start(backends: list[str], *options: str) -> Balancer:
        running.append(Balancer(tmp_path / f"balancer{len(running)}", backends, *options))
        return running[-1]

    yield start
    for balancer in running:
        balancer.end()
        assert "Traceback" not in balancer.stderr_path.read_text()


@pytest.fixture
def start_one(tmp_path: Path) -> Iterator[StartService]:
    """Starts services that end with the test."""
    running: list[Child] = []

    def start(kind: str, **about: str) -> tuple[Child, str]:
        child, url = start_service(kind, tmp_path / f"service{len(running)}", **about)
        running.append(child)
        return child, url

    yield start
    for child in running:
        child.end()
