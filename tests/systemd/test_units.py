"""The unit files: accepted and rated by systemd itself, and in step with the program's own defaults."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ocr_tcp_lb.config import Config
from ocr_tcp_lb.ops.systemd import ADMIN_NAME
from ocr_tcp_lb.settings import options

UNITS = Path(__file__).resolve().parents[2] / "systemd"
PROGRAM = "/opt/ocr-tcp-lb/bin/ocr-tcp-lb"
MOST_EXPOSURE = 1.2

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


class Unit(configparser.RawConfigParser):
    """A unit file; of a repeated key the last value counts here."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string((UNITS / name).read_text())


def seconds(text: str) -> float:
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are installed, with a program that is there."""
    for name in ("ocr-tcp-lb.service", "ocr-tcp-lb.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace(PROGRAM, shutil.which("true") or "/bin/true"))
    return tmp_path


@needs_systemd
def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    files = sorted(map(str, installed.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "ocr-tcp-lb" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_systemd_rates_the_service_as_well_confined(installed: Path) -> None:
    file = str(installed / "ocr-tcp-lb.service")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    rating = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert rating, done.stderr
    assert float(rating[1]) <= MOST_EXPOSURE


def test_service_is_given_more_time_than_the_drain_takes() -> None:
    service = Unit("ocr-tcp-lb.service")["Service"]
    assert seconds(service["TimeoutStopSec"]) > Config().timeouts.drain_s


def test_service_is_back_within_a_second_but_not_after_a_fault_in_its_configuration() -> None:
    service = Unit("ocr-tcp-lb.service")["Service"]
    assert service["Restart"] == "always"
    assert seconds(service["RestartSec"]) < 0.5
    assert service["RestartPreventExitStatus"] == "2"


def test_service_may_open_what_its_clients_need() -> None:
    service = Unit("ocr-tcp-lb.service")["Service"]
    assert int(service["LimitNOFILE"]) > 2 * Config().limits.connections + 1000


def test_command_is_one_that_the_program_understands(tmp_path: Path) -> None:
    words = Unit("ocr-tcp-lb.service")["Service"]["ExecStart"].split()
    assert words[:3] == [PROGRAM, "run", "--config"]
    file = tmp_path / "lb.toml"
    file.write_text('mode = "http"\n')
    assert options.load(["--config", str(file)]) == Config()


def test_ports_are_those_that_the_program_would_open() -> None:
    text = (UNITS / "ocr-tcp-lb.socket").read_text()
    port = Config().listen[0].port  # type: ignore[union-attr]
    assert re.findall(r"^ListenStream=(.*)$", text, re.M) == [f"0.0.0.0:{port}", f"[::]:{port}"]
    assert Unit("ocr-tcp-lb.socket")["Socket"]["FileDescriptorName"] != ADMIN_NAME


def test_newer_systemd_waits_for_a_reload_and_sends_one_signal() -> None:
    service = Unit("ocr-tcp-lb.service.d/notify-reload.conf")["Service"]
    assert (service["Type"], service["ExecReload"]) == ("notify-reload", "")
