"""The README and the program agree: every option is in the table, and every option in the table exists."""

import re
from pathlib import Path

from ocr_tcp_lb.cli import COMMANDS
from ocr_tcp_lb.settings.table import BACKEND_KEYS, options_of

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def rows() -> dict[str, str]:
    """The rows of the option table, by the option's name."""
    table = re.search(r"<!-- options -->\n(.*?)<!-- /options -->", README, re.DOTALL)
    assert table, "the README marks its option table"
    return {name: line for line in table[1].splitlines() for name in re.findall(r"^\| `--([a-z-]+)", line)}


def test_table_has_every_option_and_no_other() -> None:
    assert rows().keys() == options_of("run").keys()


def test_choices_and_backend_keys_are_all_named() -> None:
    for name, option in options_of("run").items():
        if re.fullmatch(r"[a-z0-9-]+(\|[a-z0-9-]+)+", option.kind.metavar) and option.kind.metavar != "yes|no":
            for word in option.kind.metavar.split("|"):
                assert word in rows()[name], f"{word} of --{name}"
    for key in BACKEND_KEYS:
        if key.name != "url":
            assert f"`{key.name.replace('-', '_')}`" in rows()["backend"]


def test_every_option_that_is_mentioned_exists() -> None:
    known = {name for command in COMMANDS for name in options_of(command)} | {"help", "version", "now"}  # systemctl
    ours = {
        line for line in README.splitlines() if "ocr-tcp-lb" in line or "ocr_tcp_lb" in line or line.startswith("| `--")
    }
    for line in ours:
        for name in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", line):
            assert name in known, f"--{name} in: {line}"


def test_every_command_is_mentioned() -> None:
    for command in COMMANDS.keys() - {"run"}:  # which may be left out
        assert re.search(rf"ocr[-_]tcp[-_]lb.* {command}\b|`{command}`", README), command
