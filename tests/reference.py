"""The tables of docs/configuration.md, made from the program's own tables: `python -m tests.reference` renews them."""

import re
from collections.abc import Iterable
from pathlib import Path

from ocr_tcp_lb.settings.options import load
from ocr_tcp_lb.settings.table import BACKEND_KEYS, OPTIONS, Option, backend_values, options_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
OWN_COMMANDS = ("demo", "doctor", "status", "control")


def renewed(text: str) -> str:
    """The page with what stands between `<!-- NAME -->` and `<!-- /NAME -->` made anew."""
    for name, table in (("options", options()), ("backend", backend_keys()), ("commands", commands())):
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, table=table: match[1] + table + match[2],
            text,
            flags=re.S,
        )
        assert count == 1, f"the page has a place for {name}"
    return text


def options() -> str:
    """All options of `run`, by group."""
    found = ""
    group = ""
    for option in options_of("run").values():
        if option.group != group:
            group = option.group
            found += f"\n### {group}\n\n| option | value | default | meaning |\n|---|---|---|---|\n"
        value = option.metavar or option.kind.metavar
        found += row(f"`{option.name}`", code(value), code(option.shown_default), option.help)
    return found + "\n"


def backend_keys() -> str:
    """The keys of one backend, with the defaults that one has of whom only the URL is told."""
    shown = backend_values(load(["--backend", "http://127.0.0.1:5000/"]).backends[0])
    found = "| key | value | default | meaning |\n|---|---|---|---|\n"
    for key in BACKEND_KEYS:
        default = "" if key.name == "url" else str(shown[key.name])
        found += row(f"`{key.name}`", code(key.metavar or key.kind.metavar), code(default), key.help)
    return found


def commands() -> str:
    """Which options the other commands take."""
    known = {option.name for option in OPTIONS if "run" in option.commands}
    found = "| command | options of `run` | options of its own |\n|---|---|---|\n"
    for command in OWN_COMMANDS:
        taken = options_of(command).values()
        shared = names(option for option in taken if option.name in known)
        own = "; ".join(f"`--{o.name}`: {o.help}" for o in taken if o.name not in known)
        found += row(f"`{command}`", shared, own)
    return found


def names(options: Iterable[Option]) -> str:
    return ", ".join(f"`--{option.name}`" for option in options)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
