"""One booted machine for all tests, with the balancer installed as the README says and three services before it."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemd.machine import CannotBootError, Machine

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {5000: "/get_ocr_api", 5001: "/get_ocr", 5002: "/get_ocr_api"}
CLONE, WHEELS = "/srv/clone", "/srv/wheels"
INSTALLED_BY = re.compile(r"^```\n(\S*python3 -m venv /opt/ocr-tcp-lb .*?)^```", re.DOTALL | re.MULTILINE)
NOT_CLONED = (".git", ".venv", "__pycache__", ".*_cache", "build", "*.egg-info")


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which nothing runs yet."""
    clone, wheels, own = (tmp_path_factory.mktemp(name) for name in ("clone", "wheels", "machine"))
    shutil.copytree(ROOT, clone, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_CLONED))
    try:
        booted = Machine(own, {clone: CLONE, wheels: WHEELS})
    except CannotBootError as error:
        pytest.skip(f"no systemd can be booted here: {error}")
    try:
        fetch_wheels(wheels, booted.run("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"))
        yield booted
    finally:
        booted.close()


def fetch_wheels(directory: Path, python: str) -> None:
    """What pip would fetch in the machine, which has no way out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "--python-version", python.strip()]
    subprocess.run([*fetch, "-d", str(directory), *needed], check=True, timeout=120)


@pytest.fixture(scope="session")
def installed(machine: Machine) -> Machine:
    """The machine with three services, and the commands of the README run on it."""
    for port, path in SERVICES.items():
        script = f"{CLONE}/tests/systemd/ocr_service.py"
        machine.run("systemd-run", "--quiet", f"--unit=ocr-{port}", "/usr/bin/python3", script, str(port), path)
    backends = "\n".join(
        f'[[backend]]\nurl = "http://127.0.0.1:{port}{path}"\nconcurrency = 4' for port, path in SERVICES.items()
    )
    machine.write(f"{CLONE}/lb.toml", backends)
    found = INSTALLED_BY.search((ROOT / "README.md").read_text())
    assert found, "the README says how to install the service"
    run_in_clone(machine, found[1])
    if waits_for_reloads(machine):
        machine.run("cp", "-r", f"{CLONE}/systemd/ocr-tcp-lb.service.d", "/etc/systemd/system/")
        machine.run("systemctl", "daemon-reload")
    return machine


def run_in_clone(machine: Machine, commands: str) -> None:
    """Run commands of the documents as root would, in the clone; pip finds there what it would fetch."""
    environment = (f"PIP_FIND_LINKS={WHEELS}", "PIP_NO_INDEX=1", "PIP_DISABLE_PIP_VERSION_CHECK=1")
    machine.run("env", f"--chdir={CLONE}", *environment, "bash", "-euo", "pipefail", "-c", commands)


def waits_for_reloads(machine: Machine) -> bool:
    """Whether its systemd has Type=notify-reload."""
    version = re.match(r"systemd (\d+)", machine.run("systemctl", "--version"))
    return version is not None and int(version[1]) >= 253


@pytest.fixture
def running(installed: Machine) -> Machine:
    """The machine with the service at rest, as configured at first, whatever a test did before."""
    installed.run("install", "-D", "-m", "644", f"{CLONE}/lb.toml", "/etc/ocr-tcp-lb/lb.toml")
    installed.run("systemctl", "reset-failed")
    installed.run("systemctl", "restart", "ocr-tcp-lb.socket")
    installed.run("systemctl", "start", "ocr-tcp-lb.service")
    return installed
