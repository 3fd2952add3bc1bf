"""The whole life of the service under a real systemd: started, used, reloaded, restarted, killed, frozen, stopped."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from systemd.conftest import CLONE, ROOT, run_in_clone, waits_for_reloads
from systemd.machine import Machine

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(180)]

OPERATIONS = ROOT / "docs" / "operations.md"
NAME = "ocr-tcp-lb"
PROGRAM = "/opt/ocr-tcp-lb/bin/ocr-tcp-lb"
SERVICE = f"{NAME}.service"
PAGE = "http://127.0.0.1:4998"
FRONT = "http://127.0.0.1:4999"
CONFIG = "/etc/ocr-tcp-lb/lb.toml"
DYNAMIC_USERS = range(61184, 65520)  # systemd's "Users, Groups, UIDs and GIDs"
READ_ONLY = re.compile("Read-only file system")


def shown(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "--value", f"--property={name}", SERVICE).strip()


def pid(machine: Machine) -> int:
    number = int(shown(machine, "MainPID"))
    assert number > 1, "it runs"  # a signal to process 0 would be one to ourselves
    return number


def post(machine: Machine, url: str = f"{FRONT}/", *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("curl", "-sS", "-g", "--fail-with-body", *options, "-d", "x", url))
    return found


def messages(machine: Machine) -> list[tuple[str, str]]:
    """Priority and text of what the balancer itself said in its present life."""
    invocation = shown(machine, "InvocationID")
    lines = machine.run("journalctl", "-o", "json", f"_SYSTEMD_INVOCATION_ID={invocation}").splitlines()
    return [(entry["PRIORITY"], entry["MESSAGE"]) for entry in map(json.loads, lines)]


@contextmanager
def load(machine: Machine) -> Iterator[dict[str, Any]]:
    """Clients at work inside; what became of their requests is known behind it."""
    found: dict[str, Any] = {}
    clients = machine.start("/usr/bin/python3", f"{CLONE}/tests/systemd/clients.py")
    try:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "answered\n"
        yield found
        found.update(json.loads(clients.communicate(timeout=60)[0]))
    finally:
        clients.kill()
        clients.communicate()


def test_service_is_up_once_the_commands_of_the_readme_have_run(running: Machine) -> None:
    assert running.run("systemctl", "is-active", SERVICE, f"{NAME}.socket").split() == ["active", "active"]
    assert running.run("systemctl", "is-enabled", SERVICE, f"{NAME}.socket").split() == ["enabled", "enabled"]
    running.wait_until("sh", "-c", f"systemctl status {SERVICE} | grep 'Status: \"3 of 3 backends in service\"'")
    assert {post(running)["port"] for _ in range(30)} <= {5000, 5001, 5002}
    assert post(running, "http://[::1]:4999/get_ocr")["port"]
    assert "<h1>ocr-tcp-lb</h1>" in running.run("curl", "-sS", "--fail", f"{PAGE}/")
    scrape = running.run("curl", "-sS", "--fail", f"{PAGE}/metrics")
    assert 'ocr_tcp_lb_requests_total{backend="' in scrape
    assert running.run("curl", "-sS", "--fail", f"{PAGE}/readyz") == "ready\n"


def test_service_is_confined(running: Machine) -> None:
    number = pid(running)
    status = dict(line.split(":\t", 1) for line in running.run("cat", f"/proc/{number}/status").splitlines())
    assert int(status["Uid"].split()[0]) in DYNAMIC_USERS
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = ("nsenter", f"--target={number}", "--mount", "--root")
    for directory in ("/etc", "/opt/ocr-tcp-lb", "/var", "/sys/kernel"):
        assert READ_ONLY.search(running.ask(*inside, "touch", f"{directory}/x").stderr), directory
    assert running.run(*inside, "ls", "-A", "/root", "/home", "/tmp").split() == ["/home:", "/root:", "/tmp:"]
    assert not running.ask(*inside, "cat", "/dev/kmsg").stdout


def test_confinement_takes_nothing_that_it_needs(running: Machine) -> None:
    large = f"{CLONE}/large"
    running.run("truncate", "--size=20M", large)
    digest = running.run("sha256sum", large).split()[0]
    for expect in ("Expect:", "Expect: 100-continue"):
        reply = running.run("curl", "-sS", "-H", expect, "--data-binary", f"@{large}", f"{FRONT}/")
        assert json.loads(reply)["sha256"] == digest
    count = running.run("sh", "-c", f"curl -sS -H 'Size: 20000000' {FRONT}/ | wc -c")
    assert count.strip() == "20000000"
    assert "draining" in running.run(PROGRAM, "control", "drain", "b1")
    assert "draining" in running.run(PROGRAM, "status")
    assert [text for priority, text in messages(running) if priority < "5"] == []


def test_first_client_starts_a_service_that_is_stopped(running: Machine) -> None:
    running.run("systemctl", "stop", SERVICE)
    assert shown(running, "ActiveState") == "inactive"
    assert post(running)["port"]
    assert shown(running, "ActiveState") == "active"


def test_restart_refuses_and_loses_nothing(running: Machine) -> None:
    with load(running) as found:
        for _ in range(5):
            before = pid(running)
            running.run("systemctl", "restart", SERVICE)
            assert pid(running) != before
    assert found["outcomes"].keys() == {"200"}, found


def test_upgrade_refuses_and_loses_nothing(running: Machine) -> None:
    found = re.search(r"^```\n(\S+pip install .* -U .*?)^```", OPERATIONS.read_text(), re.DOTALL | re.MULTILINE)
    assert found, "the operations guide says how to upgrade"
    before = pid(running)
    with load(running) as seen:
        run_in_clone(running, found[1])
    assert pid(running) != before
    assert seen["outcomes"].keys() == {"200"}, seen


def test_reload_is_applied_under_load(running: Machine) -> None:
    before = pid(running)
    with load(running) as found:
        running.run("sed", "-i", "s/concurrency = 4/concurrency = 7/", CONFIG)
        running.run("systemctl", "reload", SERVICE)
        running.wait_until("sh", "-c", f"curl -sS {PAGE}/metrics | grep -E 'backend_slots.* 7(\\.0)?$'")
    assert found["outcomes"].keys() == {"200"}, found
    assert pid(running) == before
    assert shown(running, "NRestarts") == "0"


def test_reload_returns_when_it_is_done(running: Machine) -> None:
    if not waits_for_reloads(running):
        pytest.skip("this systemd is older than 253: it does not wait for reloads")
    running.run("sed", "-i", "s/concurrency = 4/concurrency = 7/", CONFIG)
    running.run("systemctl", "reload", SERVICE)
    assert 'backend_slots{backend="b1"} 7' in running.run("curl", "-sS", f"{PAGE}/metrics")


def test_reload_of_a_faulty_file_is_refused_with_an_error_in_the_journal(running: Machine) -> None:
    running.write(CONFIG, 'listen = ":4999"\nqueue-sise = 3\n')
    running.ask("systemctl", "reload", SERVICE)
    running.wait_until("sh", "-c", f"systemctl status {SERVICE} | grep 'Status: \"not reloaded'")
    errors = [text for priority, text in messages(running) if priority == "3"]
    assert any("queue-sise" in text for text in errors), errors
    assert post(running)["port"]


def test_killed_service_answers_again_within_a_second(running: Machine) -> None:
    before = pid(running)
    running.run("sh", "-c", f"kill -KILL {before}")
    began = time.monotonic()
    assert post(running, f"{FRONT}/", "--max-time", "10")["port"]
    assert time.monotonic() - began < 1.0 + 0.5, "half a second is for the tools that ask"
    assert pid(running) != before
    assert shown(running, "NRestarts") == "1"


def test_frozen_service_is_replaced(running: Machine) -> None:
    before = pid(running)
    running.run("sh", "-c", f"kill -STOP {before}")
    assert post(running, f"{FRONT}/", "--max-time", "40")["port"]
    assert pid(running) != before
    log = running.run("journalctl", "-u", SERVICE, "-n", "50", "-o", "cat")
    assert "Watchdog timeout (limit 10s)" in log


def test_stop_finishes_what_is_under_way(running: Machine) -> None:
    slow = running.start("curl", "-sS", "-w", " %{http_code}", "-H", "Work: 2", "-d", "x", f"{FRONT}/")
    running.wait_until("sh", "-c", f"curl -sS {PAGE}/metrics | grep -E 'backend_in_flight.* 1(\\.0)?$'")
    running.run("systemctl", "stop", SERVICE)
    assert slow.communicate(timeout=30)[0].endswith(" 200")
    assert (shown(running, "Result"), shown(running, "ExecMainStatus")) == ("success", "0")


def test_faulty_configuration_is_said_once_and_not_tried_again(running: Machine) -> None:
    running.write(CONFIG, "queue-sise = 3\n")
    with pytest.raises(AssertionError):
        running.run("systemctl", "restart", SERVICE)
    assert (shown(running, "ExecMainStatus"), shown(running, "NRestarts")) == ("2", "0")
    running.wait_until("sh", "-c", f"journalctl -u {SERVICE} -n 20 -o cat | grep queue-sise")


def test_journal_has_the_times_and_priorities_once(running: Machine) -> None:
    post(running)
    running.wait_until("sh", "-c", f"journalctl -u {SERVICE} -n 5 -o cat | grep ' ok$'")
    said = messages(running)
    ours = [text for _, text in said if not text.startswith(("Starting", "Started", "Stop"))]
    assert ours
    assert not [text for text in ours if re.match(r"<\d>|\d{4}-", text)]


def test_ports_are_changed_by_restarting_the_socket(running: Machine) -> None:
    drop_in = f"/run/systemd/system/{NAME}.socket.d/ports.conf"
    try:
        running.write(drop_in, "[Socket]\nListenStream=\nListenStream=127.0.0.1:80\n")
        running.run("systemctl", "daemon-reload")
        running.run("systemctl", "restart", f"{NAME}.socket")
        assert post(running, "http://127.0.0.1/")["port"]
        assert running.ask("curl", "-sS", f"{FRONT}/").returncode == 7, "nobody listens where it did"
    finally:
        running.run("rm", "-f", drop_in)
        running.run("systemctl", "daemon-reload")


def test_token_comes_in_as_a_credential(running: Machine) -> None:
    drop_in = f"/run/systemd/system/{SERVICE}.d/token.conf"
    token = "a-token-that-is-long-enough"
    try:
        running.write("/etc/ocr-tcp-lb/token", token)
        running.run("chmod", "600", "/etc/ocr-tcp-lb/token")
        running.write(drop_in, "[Service]\nLoadCredential=token:/etc/ocr-tcp-lb/token\n")
        config = running.run("cat", CONFIG)
        where = f"/run/credentials/{SERVICE}/token"
        running.write(CONFIG, f'admin = ":4998"\nadmin-token-file = "{where}"\n{config}')
        running.run("systemctl", "daemon-reload")
        running.run("systemctl", "restart", SERVICE)
        assert running.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{PAGE}/metrics") == "401"
        assert "ocr_tcp_lb_" in running.run("curl", "-sS", "-H", f"Authorization: Bearer {token}", f"{PAGE}/metrics")
    finally:
        running.run("rm", "-f", drop_in)
        running.run("systemctl", "daemon-reload")
