"""Shapes of heads: everything in a head but its values, so that what was learned about one serves the next.

`split(raw)` returns `[text, value, text, value, ..., text]`, in linear time on any input. The texts are the
template, the odd cells the values. A template is stored when the slow way has accepted a head with that start
line and those names, and it counts as found only if key *and number of cells* agree.

Why a hit is never wrong. Keys join the template's pieces with NUL. A stored template has no NUL, its pieces
being tokens, CRLF and a checked start; so a key that equals it has one NUL for each gap, and with the same
number of cells none inside a piece: the pieces are equal. Each value is a maximal run of field characters
(`*+` never gives back) that does not begin with white space. The next piece begins with a token character,
which would have been part of the run; so the run's own CRLF was consumed, and that needs a run that is not
empty and does not end with white space. Only the last piece, CRLF itself, might follow a run without its
CRLF; but then the head would not end with an empty line, which the parsers check. Hence the bytes are the
start line and strictly valid `Name: value` lines with the stored names.

Adversaries can fill the cache, so it is bounded in entries and in bytes, and starts afresh when full: good
clients pay one slow parse each after every `MAX_SHAPES` slow parses of an adversary, and hits no bookkeeping.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Generic, TypeVar

from ocr_tcp_lb.wire.fields import CRLF, END

MAX_SHAPES = 128  # an installation sees a few dozen: clients times methods
MAX_TEMPLATE_BYTES = 1024  # a browser's field names are about 400 bytes
MAX_REPEAT_BYTES = 1024  # a head that is remembered byte for byte; a browser's GET has about 600
MAX_PLANS = 8  # a shape's control values: `keep-alive`, `close`, and their spellings
MAX_CONTROL_BYTES = 256

split: Callable[[bytes], list[bytes]] = re.compile(rb": (?![\t ])([\t -~\x80-\xff]*+)(?:(?<![\t ])\r\n|)").split

S = TypeVar("S")
P = TypeVar("P")
Pick = Callable[[Sequence[bytes]], bytes | tuple[bytes, ...]]


class BoundedCache(Generic[S]):
    """A dictionary that forgets everything when it is full; read `get`, write `add`."""

    __slots__ = ("_entries", "_max_entries", "_max_key_bytes", "get")

    def __init__(self, max_entries: int, max_key_bytes: int) -> None:
        self._entries: dict[bytes, S] = {}
        self._max_entries = max_entries
        self._max_key_bytes = max_key_bytes
        self.get = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: bytes, entry: S) -> None:
        """Remember the entry unless its key is too long."""
        if len(key) > self._max_key_bytes or not self._max_entries:
            return
        if len(self._entries) >= self._max_entries:
            self._entries.clear()
        self._entries[key] = entry


class Plans(dict[bytes | tuple[bytes, ...], P]):
    """What a shape means for each set of control values; bounded as the shapes are."""

    __slots__ = ()

    def add(self, controls: bytes | tuple[bytes, ...], plan: P) -> None:
        """Remember the plan unless its control values are long."""
        size = len(controls) if isinstance(controls, bytes) else sum(map(len, controls))
        if size > MAX_CONTROL_BYTES:
            return
        if len(self) >= MAX_PLANS:
            self.clear()
        self[controls] = plan


def template(start: bytes, names: Sequence[bytes]) -> list[bytes]:
    """Return the texts that `split` finds in a strict head with this start line and these names."""
    if not names:
        return [start + END]
    return [start + CRLF + names[0], *names[1:], CRLF]


def cells_of(values: Sequence[bytes]) -> list[bytes]:
    """Arrange values as `split` does; the texts between them are never looked at, the last is constant."""
    cells = [CRLF] * (2 * len(values) + 1)
    cells[1::2] = values
    return cells


def positions(names: Sequence[bytes], *wanted: bytes) -> list[int]:
    """Return the cells that hold the values of the fields with these lower-case names."""
    return [2 * index + 1 for index, name in enumerate(names) if name.lower() in wanted]


def picker(indices: Sequence[int]) -> Pick:
    """Return a getter of these cells: one value or a tuple; of none, the last cell, a constant."""
    return itemgetter(*indices) if indices else itemgetter(-1)
