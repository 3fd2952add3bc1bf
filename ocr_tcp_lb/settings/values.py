"""Kinds of option values: how each is read from text, and how it is shown so that reading gives it back.

`Kind.parse` takes the text of a command line or the text of a TOML scalar and returns the value in the units
of `config` (seconds, bytes), or raises `BadValue`. `Kind.show` returns a TOML scalar for which
`parse(str(show(value))) == value`. Pure: nothing here knows which option a value belongs to.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ocr_tcp_lb.config import FairBy
from ocr_tcp_lb.settings.faults import BadValue, did_you_mean

TomlScalar = str | int | float | bool

# systemd and Kubernetes write durations so; `d` is left out because no limit here is usefully that long.
_SECONDS_OF = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?(ms|s|m|h)?")
_LONGEST_S = 30 * 24 * 3600.0  # beyond a month a limit is a typing error, and timers need a finite number

# As in nginx and dd: one letter is binary. kB, MB and GB are decimal, as in SI.
_BYTES_OF = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_BYTES_OF |= {unit + tail: 1024**n for n, unit in enumerate("kmg", 1) for tail in ("", "ib")}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]*)", re.IGNORECASE)

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})

_PATH = re.compile(r"/[!-~]*")  # what may stand in a request line, a query included

# Names stand in log lines, metric labels, paths and `--backend` keys: no blanks, quotes or commas; `-` is nobody there,
# and `..` is no name in a path.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 section 5.1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: its placeholder in the help, its reader, and its inverse for TOML."""

    metavar: str
    parse: Callable[[str], Any]
    show: Callable[[Any], TomlScalar]


def duration(*, zero: bool = False) -> Kind:
    """Return the kind of a time span in seconds, more than 0 unless `zero` is allowed."""

    def parse(text: str) -> float:
        match = _DURATION.fullmatch(text)
        if not match:
            raise BadValue(f"{text!r} is not a duration", "write seconds such as 3 or 0.5, or 500ms, 2m, 1h")
        seconds = float(Decimal(match[1]) * _SECONDS_OF[match[2] or "s"])
        if seconds > _LONGEST_S:
            raise BadValue(f"{text} is too long", "write at most 720h")
        if seconds == 0 and not zero:
            raise BadValue(f"{text} is no time at all", "write more than 0, such as 500ms")
        return seconds

    def show(seconds: float) -> str:
        return f"{format(Decimal(repr(seconds)).normalize(), 'f')}s"

    return Kind("TIME", parse, show)


def size(least: int, most: int) -> Kind:
    """Return the kind of a number of bytes from `least` to `most`."""
    bounds = f"write {show_size(least)} to {show_size(most)}"

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        factor = _BYTES_OF.get(match[2].lower()) if match else None
        if not match or factor is None:
            raise BadValue(f"{text!r} is not a size", "write bytes such as 65536, or 64KiB, 8M, 1GiB")
        count = Decimal(match[1]) * factor
        if count != int(count):
            raise BadValue(f"{text} is not a whole number of bytes", bounds)
        if not least <= count <= most:
            raise BadValue(f"{text} is out of range", bounds)
        return int(count)

    return Kind("SIZE", parse, show_size)


def show_size(count: int) -> str:
    """Return `count` bytes in the largest binary unit that divides it: `64MiB`, `65537`."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return str(count)


def count(least: int, most: int) -> Kind:
    """Return the kind of a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        bounds = f"write a whole number from {least} to {most}"
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise BadValue(f"{text!r} is not a whole number", bounds)
        if not least <= int(text) <= most:
            raise BadValue(f"{text} is out of range", bounds)
        return int(text)

    return Kind("N", parse, int)


def choice(*names: str) -> Kind:
    """Return the kind of a word out of `names`."""

    def parse(text: str) -> str:
        if text not in names:
            raise BadValue(f"{text!r} is not known here", did_you_mean(text, names))
        return text

    return Kind("|".join(names), parse, str)


def or_off(kind: Kind) -> Kind:
    """Return the kind of what `kind` reads, or `off`, which is read as None."""

    def parse(text: str) -> Any:
        return None if text == "off" else kind.parse(text)

    def show(value: Any) -> TomlScalar:
        return "off" if value is None else kind.show(value)

    return Kind(f"{kind.metavar}|off", parse, show)


def _parse_fair_by(text: str) -> FairBy:
    if text in ("address", "off"):
        return FairBy("address" if text == "address" else "off")
    kind, _, name = text.partition(":")
    if kind != "header" or not _FIELD_NAME.fullmatch(name):
        raise BadValue(f"{text!r} tells no clients apart", "write address, off, or header:NAME, as in header:X-Api-Key")
    return FairBy("header", name)


def _parse_proxy_version(text: str) -> int:
    if text not in ("v1", "v2"):
        raise BadValue(f"{text!r} is no version of the PROXY protocol", "write v1 (text) or v2 (binary), or off")
    return int(text[1:])


def _parse_concurrency(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) == 0:
        raise BadValue(
            f"{text!r} is not a number of requests at once",
            "write a whole number from 1, or auto if it is not known",
        )
    return int(text)


def _parse_flag(text: str) -> bool:
    word = text.lower()
    if word not in _YES | _NO:
        raise BadValue(f"{text!r} is neither yes nor no", "write true or false")
    return word in _YES


def _parse_weight(text: str) -> float:
    right = "write a share from 0.001 to 1000, or 0 for a backend that only helps out when no other can"
    try:
        weight = float(text)
    except ValueError as error:
        raise BadValue(f"{text!r} is not a number", right) from error
    if math.isnan(weight):
        raise BadValue(f"{text} is not a number", right)
    if weight != 0 and not 0.001 <= weight <= 1000:
        raise BadValue(f"{text} is out of range", right)
    return weight


def _parse_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadValue(
            f"{text!r} is not a name", "write up to 64 letters, digits, and any of . _ -, the first no . or -"
        )
    return text


FAIR_BY = Kind("address|header:NAME|off", _parse_fair_by, str)


def _parse_health_path(text: str) -> str:
    if text and not _PATH.fullmatch(text):
        raise BadValue(f"{text!r} is not a path", "write a path such as /health; other characters percent-encoded")
    return text


HEALTH_PATH = Kind("/PATH", _parse_health_path, str)
SEND_PROXY = or_off(Kind("v1|v2", _parse_proxy_version, lambda version: f"v{version}"))
CONCURRENCY = Kind("auto|N", _parse_concurrency, lambda value: value)
FLAG = Kind("yes|no", _parse_flag, bool)
WEIGHT = Kind("NUMBER", _parse_weight, float)
NAME = Kind("NAME", _parse_name, str)
TEXT = Kind("FILE", str, str)
