"""From what an operator said to a checked `Config`: command line and TOML file, read and judged together.

`load` takes the arguments after the command's name and returns the effective configuration. The command
line wins over the file, option by option. Every fault of both is found in one pass and raised together as
one `ConfigError`; nothing is printed, bound or resolved. The options themselves stand in `table`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from ocr_tcp_lb.config import BackendConfig, Concurrency, Config, TrustedProxies, default_queue_size, is_local
from ocr_tcp_lb.settings import arguments, configfile
from ocr_tcp_lb.settings.addresses import LISTEN, BackendUrl
from ocr_tcp_lb.settings.configfile import Said
from ocr_tcp_lb.settings.faults import BadValue, ConfigError, Fault, did_you_mean
from ocr_tcp_lb.settings.table import BACKEND_KEYS, Option, is_program_wide, options_of

Given = dict[str, list[Said]]
Values = dict[str, list[Any]]


class ToldBackend(NamedTuple):
    """A backend as it was told, without what the whole program says of all."""

    config: BackendConfig
    tells_concurrency: bool

    def completed(self, concurrency: Concurrency) -> BackendConfig:
        """Return it with the concurrency of all others, where it does not say its own."""
        return self.config if self.tells_concurrency else replace(self.config, concurrency=concurrency)


def load(argv: Sequence[str], command: str = "run") -> Config:
    """Return the effective configuration of `command`; raise `ConfigError` with every fault found."""
    return load_with_own(argv, command)[0]


def load_with_own(argv: Sequence[str], command: str) -> tuple[Config, Values]:
    """Return also, by name, the values of the options that are the command's own and no part of a `Config`."""
    faults: list[Fault] = []
    given = arguments.read(argv, command, faults)
    options = options_of("run") | options_of(command)  # a file is that of `run`, whatever is asked of it
    values = _judged(given, options, faults)
    if "config" in given:
        said = _known(configfile.read(given["config"][0].text, faults), options, faults)
        values = _judged(said, options, faults) | values
        given = said | given
    faults += _contradictions(given, values, opens_admin="listen" in options_of(command))
    if faults:
        raise ConfigError(faults)
    return _configured(options, values), values


def read_backend(text: str, name: str, concurrency: Concurrency) -> BackendConfig:
    """Return the backend that `URL[,key=value...]` means, of this name and concurrency unless it says its own.

    Raises `ConfigError`.
    """
    faults: list[Fault] = []
    found = _backend(name, Said("backend", text), faults)
    if faults:
        raise ConfigError(faults)
    return found[0].completed(concurrency)


def _known(said: Given, options: Mapping[str, Option], faults: list[Fault]) -> Given:
    """Return what a file says about options that may stand in a file; report the rest."""
    names = [option.name for option in options.values() if option.in_file]
    known: Given = {}
    for name, entries in said.items():
        if name in names:
            known[name] = entries
        elif entries:
            where = entries[0].where.removesuffix("[1]")
            faults.append(Fault(where, "there is no such key", did_you_mean(name, names)))
    return known


def _judged(given: Given, options: Mapping[str, Option], faults: list[Fault]) -> Values:
    """Parse all that one source says, also what the other source will win over."""
    return {
        name: _backends(said, faults) if name == "backend" else _values(options[name], said, faults)
        for name, said in given.items()
    }


def _values(option: Option, said: Sequence[Said], faults: list[Fault]) -> list[Any]:
    """Parse the values of one option; those that are refused are reported and left out."""
    if len(said) > 1 and not option.repeatable:
        faults.append(Fault(said[0].where.removesuffix("[1]"), "a list cannot stand here", "write one value"))
        return []
    placed = [(entry.where, value) for entry in said for value in _parsed(option, entry, faults)]
    if option.kind is LISTEN:
        # Port 0 is another port each time.
        fixed = [(where, value) for where, value in placed if getattr(value, "port", None) != 0]
        faults += _repeated(fixed, "address", "name each address once")
    return [value for _, value in placed]


def _parsed(option: Option, said: Said, faults: list[Fault]) -> list[Any]:
    if said.keys:
        faults.append(Fault(said.where, "a table cannot stand here", "write one value, all at the top level"))
        return []
    try:
        return [option.kind.parse(said.text)]
    except BadValue as bad:
        faults.append(bad.at(said.where))
        return []


def _backends(said: Sequence[Said], faults: list[Fault]) -> list[ToldBackend]:
    """Return the backends of one source; those without a usable URL are reported and left out."""
    placed = [
        (entry.where, backend)
        for number, entry in enumerate(said, 1)
        for backend in _backend(f"b{number}", entry, faults)
    ]
    urls = [(where, backend.config.url) for where, backend in placed]
    faults += _repeated(urls, "URL", "name it once: concurrency=N says how much it can take")
    names = [(where, backend.config.name) for where, backend in placed]
    faults += _repeated(names, "name", "give each backend a name of its own")
    return [backend for _, backend in placed]


def _repeated(placed: Sequence[tuple[str, object]], what: str, right: str) -> Iterator[Fault]:
    first: dict[object, str] = {}
    for where, value in placed:
        if value in first:
            yield Fault(where, f"the {what} {value} is taken by {first[value]}", right)
        first.setdefault(value, where)


def _backend(name_unless_said: str, said: Said, faults: list[Fault]) -> list[ToldBackend]:
    """Return one backend, from a table or from `URL,key=value...`; none if its URL is missing or refused."""
    keys = said.keys or _keys_of_text(said, faults)
    rows = {row.name: row for row in BACKEND_KEYS}
    fields: dict[str, Any] = {"name": name_unless_said}
    url: BackendUrl | None = None
    for name, entry in keys.items():
        if name not in rows:
            faults.append(_misplaced(name, entry, is_table=bool(said.keys)))
            continue
        for value in _parsed(rows[name], entry, faults):
            if isinstance(value, BackendUrl):
                url = value
            else:
                fields[rows[name].place] = value
    if "url" not in keys:
        faults.append(Fault(said.where, "it has no url", 'add url = "http://HOST:PORT/PATH"'))
    if url is None:
        return []
    config = BackendConfig(host=url.host, port=url.port, path=url.path, **fields)
    return [ToldBackend(config, "concurrency" in fields)]


def _misplaced(name: str, said: Said, *, is_table: bool) -> Fault:
    """What is wrong with a key that no backend has."""
    if name in ("path", "host", "port"):
        return Fault(said.where, f"the {name} is part of the url", 'write url = "http://HOST:PORT/PATH"')
    if not is_program_wide(name):
        return Fault(said.where, "a backend has no such key", did_you_mean(name, [row.name for row in BACKEND_KEYS]))
    # In TOML, all that follows [[backend]] is about that backend.
    right = "move it above the first [[backend]]" if is_table else f"write it as an option: --{name}"
    return Fault(said.where, f"{name} belongs to the whole program", right)


def _keys_of_text(said: Said, faults: list[Fault]) -> dict[str, Said]:
    """Split `URL,key=value,...`; the keys are spelled with dashes or underscores, as in a file."""
    url, *pairs = said.text.split(",")
    keys = {"url": Said(said.where, url)}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("_", "-")
        if "://" in name:
            faults.append(Fault(said.where, "there is a second URL", f"repeat --backend: --backend {pair.strip()}"))
        elif not equals:
            right = "write key=value after a comma; a comma in the path is %2C"
            faults.append(Fault(said.where, f"{pair!r} is not a key with its value", right))
        elif name in keys:
            faults.append(Fault(f"{said.where} {name}", "it is said twice", "keep one of them"))
        else:
            keys[name] = Said(f"{said.where} {name}", text.strip())
    return keys


def _contradictions(given: Given, values: Values, *, opens_admin: bool) -> Iterator[Fault]:
    """Yield a fault for each option that is right by itself, but not beside the others.

    To `status` and `control`, which open nothing, `--admin` is where somebody else listens.
    """
    trusted = values.get("trusted-proxies", [TrustedProxies()])  # no value at all: a fault that is told already
    if any(values.get("proxy-protocol", ())) and trusted and not any(trusted):
        right = "name them, as in --trusted-proxies 10.0.0.0/8 (or unix)"
        yield Fault(given["proxy-protocol"][0].where, "it asks for trusted proxies, and there are none", right)
    admin = next(iter(values.get("admin", ())), None)
    if opens_admin and admin is not None and not is_local(admin) and not any(values.get("admin-token-file", ())):
        wrong = f"other machines can reach {admin}, and nothing would keep them from taking control"
        right = "choose a loopback address or a unix socket, or name a file with a secret: --admin-token-file FILE"
        yield Fault(given["admin"][0].where, wrong, right)


def _configured(options: Mapping[str, Option], values: Values) -> Config:
    """Put the parsed values over the defaults."""
    config = Config()
    for name, parsed in values.items():
        if options[name].place:
            config = _placed(config, options[name].place, reduce(or_, parsed))
    if "listen" in values:
        config = replace(config, listen=tuple(values["listen"]))
    told = values.get("backend", [ToldBackend(one, tells_concurrency=False) for one in config.backends])
    config = replace(config, backends=tuple(one.completed(config.concurrency) for one in told))
    if "workers-from" in values:
        config = replace(config, backends=_on_ports_from(values["workers-from"][0], config.backends))
    if "queue-size" not in values:
        config = _placed(config, "queue.size", default_queue_size(len(config.backends)))
    return config


def _placed(config: Config, place: str, value: Any) -> Config:
    """Return `config` with the field at `place` (`retries`, `queue.size`) set to `value`."""
    part, _, name = place.rpartition(".")
    changes: dict[str, Any] = {name: value}
    if part:
        changes = {part: replace(getattr(config, part), **changes)}
    return replace(config, **changes)


def _on_ports_from(first: int, backends: Sequence[BackendConfig]) -> tuple[BackendConfig, ...]:
    return tuple(replace(backend, port=first + offset) for offset, backend in enumerate(backends))
