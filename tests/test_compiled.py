"""What may be compiled (`OCR_TCP_LB_COMPILE=1 pip install .`) keeps away from what mypyc is known to get wrong."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb.compiled import is_compiled

ROOT = Path(__file__).parent.parent
PATTERNS: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ocr_tcp_lb"]["compiled"]
Function = ast.FunctionDef | ast.AsyncFunctionDef

in_the_tree = pytest.mark.skipif(is_compiled(), reason="the sources are not beside the tests")


def compiled_files() -> list[Path]:
    return sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


@in_the_tree
def test_every_pattern_names_files() -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in PATTERNS)
    assert len(compiled_files()) > 40


@in_the_tree
@pytest.mark.parametrize("path", compiled_files(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_nothing_that_waits_is_compiled(path: Path) -> None:
    """A compiled coroutine of this relay sent the same bytes twice: a slice of a view was lost over an `await`."""
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, waiting)]


@in_the_tree
@pytest.mark.parametrize("path", compiled_files(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_caught_error_has_a_name_of_its_own(path: Path) -> None:
    """Compiled, one name in two `except`s of a function has the type of the first, and the second raises TypeError."""
    for function in functions(path):
        kinds: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name is not None and node.type is not None:
                kinds[node.name].add(ast.unparse(node.type))
        assert all(len(types) == 1 for types in kinds.values()), f"{path.name}: {function.name}"


@in_the_tree
@pytest.mark.parametrize("path", compiled_files(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_class_attributes_are_plain_defaults(path: Path) -> None:
    """Compiled, an attribute that is another one's alias (`b = a`, `a = b = 1`) is left without a value."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign):
                    assert len(line.targets) == 1, f"{path.name}: {node.name}"
                    assert not isinstance(line.value, ast.Name), f"{path.name}: {node.name}"
