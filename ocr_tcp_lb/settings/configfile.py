"""The TOML file: read into named texts with their places, and written from a `Config`.

`read` returns what the file says as `Said` values, keys in the command line's spelling (dashes), so that
`options` treats both sources alike; it knows TOML but no option. `render` is the inverse for an effective
configuration: reading its text again gives an equal `Config`.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from ocr_tcp_lb.config import BackendConfig, Config
from ocr_tcp_lb.settings.faults import Fault
from ocr_tcp_lb.settings.table import OPTIONS, backend_values, is_program_wide
from ocr_tcp_lb.settings.values import TomlScalar

_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class Said:
    """What an operator wrote: the place, the text, and for a backend's table its keys."""

    where: str
    text: str = ""
    keys: Mapping[str, "Said"] = field(default_factory=dict)


def read(path: str, faults: list[Fault]) -> dict[str, list[Said]]:
    """Return what the TOML file at `path` says, by option name; append what cannot be read to `faults`."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        table = tomllib.loads(data.decode("utf-8-sig"))  # Windows' Notepad begins files with a byte order mark
    except tomllib.TOMLDecodeError as error:
        faults.append(_syntax_fault(path, str(error)))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.append(Fault(f"{path}: line {line}", "this is not UTF-8", "save the file as UTF-8"))
    except RecursionError:
        faults.append(
            Fault(path, "this is nested too deeply", "write one value, or one list of values, after each key")
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        faults.append(Fault("--config", f"cannot read {path}: {reason}", "name a readable TOML file"))
    else:
        if not table:  # cut short, or what `doctor > lb.toml` leaves where every service is down
            faults.append(Fault(path, "this file says nothing", "write what it is to say, or leave --config out"))
        return dict(_entries(path, table, faults))
    return {}


def _syntax_fault(path: str, message: str) -> Fault:
    match = _LINE.search(message)
    reason = _LINE.sub("", message)
    place = f"line {match[1]}" if match and match[1] else "last line"
    return Fault(
        f"{path}: {place}",
        f"this is not TOML: {reason[:1].lower()}{reason[1:]}",
        'write key = value, with texts in quotes as in listen = ":4999"',
    )


def _entries(path: str, table: dict[str, object], faults: list[Fault]) -> Iterator[tuple[str, list[Said]]]:
    for name, key, value in _spelled(path, table, faults):
        where = f"{path}: {key}"
        entries: list[Said] = []
        if isinstance(value, list):
            if not value:
                faults.append(Fault(where, "this list is empty", "name at least one, or leave the line out"))
            numbered = enumerate(value, 1)
            entries = [said for n, item in numbered for said in _said(f"{where}[{n}]", item, faults)]
        elif isinstance(value, dict) and name == "backend":
            faults.append(Fault(where, "one table cannot stand for a list", "write [[backend]]"))
        else:
            entries = list(_said(where, value, faults))
        if entries:
            yield name, entries


def _spelled(place: str, table: dict[str, object], faults: list[Fault]) -> Iterator[tuple[str, str, object]]:
    """Yield `(name with dashes, key as written, value)`; `queue_size` is `queue-size`, but not beside it."""
    seen: dict[str, str] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name in seen:
            faults.append(Fault(f"{place}: {key}", f"this says {seen[name]} again", "keep one of them"))
        else:
            seen[name] = key
            yield name, key, value


def _said(where: str, value: object, faults: list[Fault]) -> Iterator[Said]:
    """Yield the one value at `where`: a scalar as its text, a table with its keys."""
    if isinstance(value, dict):
        keys: dict[str, Said] = {}
        for name, key, item in _spelled(where, value, faults):
            if is_program_wide(name):  # not to be judged where it cannot stand
                keys[name] = Said(f"{where}.{key}")
                continue
            keys.update((name, said) for said in _said(f"{where}.{key}", item, faults))
        yield Said(where, keys=keys)
    elif isinstance(value, bool):
        yield Said(where, str(value).lower())
    elif isinstance(value, int) and value.bit_length() > 64:  # of which Python may refuse to make a text
        faults.append(Fault(where, "this number is too large", "write a smaller one"))
    elif isinstance(value, str | int | float):
        yield Said(where, str(value))
    else:
        shape = "a list" if isinstance(value, list) else "a date"
        faults.append(Fault(where, f"{shape} cannot stand here", "write one number or one text in quotes"))


def render(config: Config) -> str:
    """Return `config` as TOML text, every option stated; reading it gives an equal `Config`."""
    lines = [f"listen = [{', '.join(_toml(str(address)) for address in config.listen)}]"]
    for option in OPTIONS:
        if option.place:
            lines.append(f"{option.name} = {_toml(option.kind.show(attrgetter(option.place)(config)))}")
    for backend in config.backends:
        lines += ["", "[[backend]]", *_pairs(backend_values(backend).items())]
    return "\n".join(lines) + "\n"


def render_backends(backends: Iterable[BackendConfig]) -> str:
    """Return the tables of some backends as TOML text: what is not as by default, and who they are."""
    tables = []
    for backend in backends:
        usual = backend_values(BackendConfig(backend.name, backend.host, backend.port, backend.path))
        said = {
            key: value
            for key, value in backend_values(backend).items()
            if value != usual[key] or key in ("url", "name")
        }
        tables.append("\n".join(["[[backend]]", *_pairs(said.items())]))
    return "\n\n".join(tables)


def _pairs(values: Iterable[tuple[str, TomlScalar]]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in values]


def _toml(value: TomlScalar) -> str:
    """Return one scalar as TOML; JSON's escapes are TOML's, and no control bytes get this far."""
    return json.dumps(value, ensure_ascii=False)
