"""What the program may say: the string literals of its source, without docstrings, and the error codes among them."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ocr_tcp_lb"
PLACE_OF_CODE = {"RequestError": 1, "Refusal": 1, "error_reply": 1, "_refusal": 0}  # among the arguments


def nodes_of(*rooms: str) -> Iterator[ast.AST]:
    """All nodes of all modules of some rooms; no room: of the whole program."""
    for room in rooms or ("",):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def literals() -> set[str]:
    """All strings, put together where they go on in the next line; of those with values inside, the pieces between."""
    nodes = list(nodes_of())
    bare = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    strings = (node for node in nodes if isinstance(node, ast.Constant) and id(node) not in bare)
    return {node.value for node in strings if isinstance(node.value, str)}


def error_codes() -> set[str]:
    """The codes of all errors that a client may be answered with."""
    found = set()
    for node in nodes_of("wire", "relay"):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = PLACE_OF_CODE.get(name, len(node.args))
            code = node.args[place] if place < len(node.args) else None
            if isinstance(code, ast.Constant):
                found.add(code.value)
    return found
