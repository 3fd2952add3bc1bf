"""The dashboard and the alert rules: they read, and name only metrics and labels that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from relay.support import GET, House

from ocr_tcp_lb.ops.metrics import render
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
