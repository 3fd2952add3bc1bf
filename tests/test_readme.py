"""The documents and the program agree: every option is in the table, and every option in the table exists.

So it is with commands, configurations, error codes, metrics, alerts and links.
"""

import re
from pathlib import Path

import pytest
from literals import error_codes, literals
from reference import PAGE, renewed

from ocr_tcp_lb.cli import COMMANDS
from ocr_tcp_lb.ops.accesslog import Clock, any_json
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.settings import options
from ocr_tcp_lb.settings.table import BACKEND_KEYS, options_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = 400
LITERALS = literals()
TABLES_OF_MESSAGES = ("It does not start", "A backend is out", "The status page")
PROGRAMS = {"ocr-tcp-lb", "ss", "systemctl", "journalctl", "gunicorn", "curl", *COMMANDS}
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def fenced(path: Path, language: str) -> list[str]:
    """The blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


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


@documents
def test_every_option_that_is_mentioned_exists(path: Path) -> None:
    known = {name for command in COMMANDS for name in options_of(command)} | {"help", "version", "now"}  # systemctl
    lines = path.read_text().splitlines()
    ours = {line for line in lines if "ocr-tcp-lb" in line or "ocr_tcp_lb" in line or line.startswith("| `--")}
    for line in ours:
        for name in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", line):
            assert name in known, f"--{name} in: {line}"


def test_every_command_is_mentioned() -> None:
    for command in COMMANDS.keys() - {"run"}:  # which may be left out
        assert re.search(rf"ocr[-_]tcp[-_]lb.* {command}\b|`{command}`", README), command


def test_reference_is_that_of_the_program() -> None:
    assert PAGE.read_text() == renewed(PAGE.read_text()), "python -m tests.reference renews it"


def test_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@documents
def test_every_configuration_is_one(path: Path, tmp_path: Path) -> None:
    for number, block in enumerate(fenced(path, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        options.load(["--config", str(file)])


@documents
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def table_cells(text: str, *titles: str) -> list[list[str]]:
    """The rows of the tables below these titles, by their cells."""
    sections = {section.partition("\n")[0]: section for section in text.split("\n## ")}
    return [line.split("|")[1:-1] for title in titles for line in sections[title].splitlines() if line.startswith("| ")]


def test_every_error_code_that_is_explained_exists() -> None:
    explained = [first for first, *_ in table_cells(TROUBLESHOOTING, "Clients get errors")]
    codes = {code for cell in explained for code in re.findall(r"`(\w+_\w+)`", cell)}
    assert len(codes) >= 9
    assert codes <= error_codes()


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "docs" / "monitoring" / "alerts.yml").read_text())
    explained = re.findall(r"^\| `(Ocr\w+)` ", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert explained == alerts


def test_every_metric_that_is_mentioned_exists() -> None:
    source = "".join(file.read_text() for file in (ROOT / "ocr_tcp_lb" / "ops").glob("*.py"))
    for path in DOCUMENTS:
        for name in re.findall(r"`ocr_tcp_lb_(\w+)", path.read_text()):
            assert f"{{P}}{name}" in source or f'"{name}"' in source, name


def is_command(said: str) -> bool:
    """Whether it is for a shell, and not what the program says."""
    return said.split()[0] in PROGRAMS


def said_by_program(message: str) -> bool:
    """Whether all parts of it are in strings of the program: what is between numbers, addresses and names."""
    parts = re.split(r"\S*[0-9/]\S*|[:,]|Connection refused|^listen ", message)
    return all(any(part.strip() in literal for literal in LITERALS) for part in parts)


def test_every_message_that_is_explained_is_one_of_the_program() -> None:
    cells = [cell for row in table_cells(TROUBLESHOOTING, *TABLES_OF_MESSAGES) for cell in row]
    quoted = [said for cell in cells for said in re.findall(r"`([A-Za-z][^`]* [^`]* [^`]*)`", cell)]
    messages = [said for said in quoted if not is_command(said)]
    assert len(messages) >= 15
    for message in messages:
        assert said_by_program(message), message


def test_what_only_a_docstring_says_is_no_message() -> None:
    assert said_by_program("backend b1 seems to hang: 4 in flight, no reply")
    assert not said_by_program("backend b1 is passed over: 4 in flight, no reply")
    assert "bad_request" in error_codes()
    assert "ok" in LITERALS - error_codes()


def access_log_section() -> str:
    return (ROOT / "docs" / "operations.md").read_text().partition("## The access log")[2].partition("\n## ")[0]


def test_every_field_of_the_access_log_is_explained() -> None:
    record = Record("127.0.0.1", b"1")
    fields = re.findall(r'"(\w+)":', any_json(record, Clock()))
    assert len(fields) == 15
    for name in fields:
        assert re.search(rf"^\| .*`{name}`.* \|", access_log_section(), re.MULTILINE), name


def test_every_ending_that_is_no_error_code_is_explained() -> None:
    source = "".join(file.read_text() for file in (ROOT / "ocr_tcp_lb" / "relay").glob("*.py"))
    endings = set(re.findall(r'ending(?:: str)? = "(\w+)"', source)) - {"backend_broke"}  # a code, too
    assert {"ok", "cancelled", "internal_error", "idle_timeout"} <= endings
    for ending in endings:
        assert f"\n| `{ending}` |" in access_log_section(), ending


def test_commands_are_those_of_the_virtual_environment() -> None:
    for line in re.findall(r".*(?:python -m|\bpytest\b).*", README):
        for command in re.findall(r"(\S*)\b(?:python -m (?:bench|tests|ocr_tcp_lb)|pytest )", line):
            assert command.strip("`(").endswith(".venv/bin/"), line
