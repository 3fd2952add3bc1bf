"""The dashboard and the alert rules: they read, and name only metrics and labels that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from relay.support import GET, House

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.ops.metrics import render
from ocr_tcp_lb.ops.tally import FAULTLESS, is_error
from ops.house import watched

FILES = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
NAME = re.compile(r"\b(?:ocr_tcp_lb|process)_\w+")


def queries(node: Any) -> Iterator[str]:
    """Every PromQL expression in the dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            yield from queries(value)
    elif isinstance(node, list):
        for one in node:
            yield from queries(one)


def rules() -> dict[str, str]:
    """The expressions of the alert rules by name; the file is plain enough to be read without a YAML library."""
    text = (FILES / "alerts.yml").read_text()
    found = {}
    for block in text.split("- alert: ")[1:]:
        expression = re.search(r"expr:(.*?)\n +for:", block, re.DOTALL)
        assert expression, block
        found[block.split("\n")[0]] = expression[1].replace(">-", "").strip()
    return found


async def known(house: House) -> dict[str, set[str]]:
    """The names of all samples, with their labels."""
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    found: dict[str, set[str]] = {}
    async with watched(lb) as admin:
        client = await lb.client()
        await client.send(GET)
        await client.read_message()
        await lb.record()
        for family in text_string_to_metric_families(render(admin.monitor)):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_and_label_that_is_asked_for_exists(house: House) -> None:
    names = await known(house)
    outside = {"instance", "job"}  # what Prometheus adds
    dashboard = json.loads((FILES / "grafana.json").read_text())
    for expression in (*queries(dashboard), *rules().values()):
        for name in NAME.findall(expression):
            assert name in names, f"{name} in {expression}"
        for name, labels in re.findall(r"\b((?:ocr_tcp_lb|process)_\w+)\{([^}]*)\}", expression):
            for label in re.findall(r"(\w+)(?:=|!=|=~|!~)", labels):
                assert label in names[name] | outside, f"{label} of {name} in {expression}"


MATCHER = re.compile(r'(\w+)(=~|!~|=|!=)"([^"]*)"')


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Whether Prometheus would; its regular expressions match whole values."""
    return all(
        (re.fullmatch(value, labels[name]) is not None if "~" in how else value == labels[name])
        is not how.startswith("!")
        for name, how, value in MATCHER.findall(selector)
        if name in labels
    )


def test_panel_of_errors_shows_what_counts_as_one() -> None:
    panels = json.loads((FILES / "grafana.json").read_text())["panels"]
    (panel,) = [one for one in panels if one["title"] == "Errors by backend and ending"]
    selectors = re.findall(r"ocr_tcp_lb_requests_total\{([^}]*)\}", panel["targets"][0]["expr"])
    assert selectors
    other = {"broken_reply", "no_backend", "queue_full", "cancelled", "internal_error", "unsupported_coding"}
    for status in (0, *range(100, 1000)):
        for ending in FAULTLESS | other:
            labels = {"status": f"{status:03d}", "ending": ending}
            assert any(selects(one, labels) for one in selectors) is is_error(status, ending), labels


async def test_backend_that_waits_for_its_trial_is_in_service_and_a_drained_one_is_not(house: House) -> None:
    """For the alert and the panel as for readiness: nobody has asked it since it came back."""
    lb = house.balancer([house.backend(), house.backend()])
    first, second = lb.hub.fleet.backends
    async with watched(lb) as admin:

        def said(name: str) -> list[float]:
            families = {one.name: one for one in text_string_to_metric_families(render(admin.monitor))}
            return [sample.value for sample in families[f"ocr_tcp_lb_backend_{name}"].samples]

        first.health.state = State.TRIAL
        lb.hub.drain(second)
        assert (said("in_service"), said("draining")) == ([1, 0], [0, 1])
        assert admin.monitor.summary() == "1 of 2 backends in service"
        first.health.state = State.EJECTED
        assert said("in_service") == [0, 0]
        assert not admin.monitor.is_ready
        lb.hub.undrain(second)
    assert rules()["OcrBackendOut"] == "ocr_tcp_lb_backend_in_service == 0 and ocr_tcp_lb_backend_draining == 0"


def test_dashboard_is_whole() -> None:
    dashboard = json.loads((FILES / "grafana.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        squares = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not squares & taken, f"{panel['title']} overlaps another panel"
        assert place["x"] + place["w"] <= 24
        taken |= squares
        assert panel["targets"]


def test_there_are_five_rules_each_with_something_to_do() -> None:
    text = (FILES / "alerts.yml").read_text()
    assert len(rules()) == text.count("runbook: >-") == text.count("summary:") == text.count("severity:") == 5
    for expression in rules().values():
        assert expression.count("(") == expression.count(")")
