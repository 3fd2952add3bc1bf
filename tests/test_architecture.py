"""Imports point one way: `wire`, `balance` <- `relay` <- `app`; `ops` <- `app`; and nothing imports the front door."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ocr_tcp_lb

PACKAGE = "ocr_tcp_lb"
ROOT = Path(ocr_tcp_lb.__file__).parent
HALL = {"app", "cli", "arguments", "options", "optiontable", "configfile", "__main__"}
ROOMS = {"wire", "balance", "relay", "ops", "demo"}
IMPURE = {"asyncio", "socket", "time", "random", "threading", "select", "selectors", "subprocess", "os"}


def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its dotted name without the package's."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what a module imports; those of the package without its name, and as modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                inner = name.removeprefix(PACKAGE + ".")
                yield name if node.module.startswith(PACKAGE) and inner in MODULES else node.module


def own(tree: ast.AST) -> set[str]:
    """The package's own modules among the imports."""
    names = [name for name in imported(tree) if name == PACKAGE or name.startswith(PACKAGE + ".")]
    return {name.removeprefix(PACKAGE).removeprefix(".") for name in names}


def room_of(name: str) -> str:
    return name.split(".")[0]


def names_of(room: str) -> list[str]:
    return [name for name in MODULES if room_of(name) == room]


@pytest.mark.parametrize("name", names_of("wire") + names_of("balance"))
def test_pure_rooms_know_no_clock_no_chance_no_socket_and_no_other_room(name: str) -> None:
    tree, room = MODULES[name], room_of(name)
    outside = {one.split(".")[0] for one in imported(tree)}
    assert not outside & IMPURE
    assert {room_of(one) for one in own(tree)} <= {room, "errors"}


@pytest.mark.parametrize("name", names_of("relay"))
def test_relay_stands_on_the_pure_rooms_only(name: str) -> None:
    assert {room_of(one) for one in own(MODULES[name])} <= {"relay", "wire", "balance", "config", "errors"}


@pytest.mark.parametrize("name", names_of("ops"))
def test_ops_reads_the_rooms_and_does_not_know_the_hall(name: str) -> None:
    assert not {room_of(one) for one in own(MODULES[name])} & (HALL | {"demo"})


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) not in ("demo", "cli", "__main__")])
def test_nobody_needs_the_demo(name: str) -> None:
    assert "demo" not in {room_of(one) for one in own(MODULES[name])}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__main__"])
def test_nobody_imports_the_front_door(name: str) -> None:
    assert not {"cli", "__main__"} & own(MODULES[name])


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("app", "cli", "__main__")])
def test_only_the_front_door_imports_the_hall_that_runs_everything(name: str) -> None:
    if room_of(name) != "demo":
        assert "app" not in own(MODULES[name])


def test_modules_import_each_other_in_no_circle() -> None:
    TopologicalSorter({name: own(tree) - {name} for name, tree in MODULES.items()}).prepare()


def test_nothing_is_imported_that_users_need_not_install() -> None:
    optional = {"rapidocr_onnxruntime", "numpy", "cv2", "PIL"}  # of the demo's real recognition
    allowed = sys.stdlib_module_names | {PACKAGE, "h11", "uvloop"}
    for name, tree in MODULES.items():
        strangers = {one.split(".")[0] for one in imported(tree)} - allowed
        assert strangers <= (optional if room_of(name) == "demo" else set()), name
