"""Imports point one way, as `IMPORTS` says: towards what is pure, and never towards the front door."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ocr_tcp_lb

PACKAGE = "ocr_tcp_lb"
ROOT = Path(ocr_tcp_lb.__file__).parent
# Who imports whom, by the first part of a module's name; besides, all may import their own room, and `errors`.
IMPORTS = {
    "errors": set(),
    "config": set(),
    "wire": set(),
    "balance": set(),
    "relay": {"wire", "balance", "config"},
    "ops": {"relay", "balance", "wire", "config"},
    "settings": {"config"},
    "compiled": {"relay"},
    "control": {"relay", "balance", "settings", "config"},
    "doors": {"ops", "relay", "config"},
    "signals": {"control", "ops", "relay", "config"},
    "app": {"signals", "doors", "control", "compiled", "ops", "relay", "balance", "config", ""},  # "": the version
    "demo": {"app", "ops", "config"},
    "cli": {"demo", "app", "control", "ops", "settings", ""},
    "__main__": {"cli"},
    "": set(),
}
PURE = ("wire", "balance")
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


def test_imports_point_one_way() -> None:
    done: dict[str, set[str]] = {room_of(name): set() for name in MODULES}
    for name, tree in MODULES.items():
        done[room_of(name)] |= {room_of(one) for one in own(tree)} - {room_of(name), "errors"}
    assert done == IMPORTS


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) in PURE])
def test_pure_rooms_know_no_clock_no_chance_and_no_socket(name: str) -> None:
    assert not {one.split(".")[0] for one in imported(MODULES[name])} & IMPURE


def test_modules_import_each_other_in_no_circle() -> None:
    TopologicalSorter({name: own(tree) - {name} for name, tree in MODULES.items()}).prepare()


def test_nothing_is_imported_that_users_need_not_install() -> None:
    optional = {"rapidocr_onnxruntime", "numpy", "cv2", "PIL"}  # of the demo's real recognition
    allowed = sys.stdlib_module_names | {PACKAGE, "h11", "uvloop"}
    for name, tree in MODULES.items():
        strangers = {one.split(".")[0] for one in imported(tree)} - allowed
        assert strangers <= (optional if room_of(name) == "demo" else set()), name
