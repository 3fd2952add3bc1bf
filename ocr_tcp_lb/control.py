"""What an operator changes at run time: one backend, or by a reload the configuration as far as it can be changed.

`Operator.do` takes the words of `ocr-tcp-lb control` and returns what to tell the operator, or raises
`LoadBalancerError` with nothing changed. Nothing that is under way is closed or forgotten: listeners, connections,
queue, learned speeds and health stay; a backend that leaves finishes what it has.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.config import Address, BackendConfig, Config
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.descriptors import allow_descriptors
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.server import Server
from ocr_tcp_lb.settings.faults import BadValue, did_you_mean
from ocr_tcp_lb.settings.options import read_backend
from ocr_tcp_lb.settings.values import WEIGHT

log = logging.getLogger(__name__)

# What the running process is built on; a change of it is named in the log, and waits for a restart.
FIXED = ("mode", "policy", "loop", "admin", "admin_token_file", "access_log")
VERBS = {  # what follows each, and what it does
    "drain": ("NAME", "give a backend nothing more; what it has runs on"),
    "undrain": ("NAME", "put it back"),
    "add": ("URL[,KEY=VALUE...]", "let a backend join"),
    "remove": ("NAME", "let it go, once it has finished what it has"),
    "weight": ("NAME NUMBER", "change how much it is preferred"),
    "reload": ("", "read the configuration again, as SIGHUP does"),
}


def usage() -> str:
    """Return a line for each command, such as `control drain NAME`."""
    commands = [(f"control {verb} {words}", what) for verb, (words, what) in VERBS.items()]
    width = max(len(command) for command, _ in commands)
    return "\n".join(f"  {command.ljust(width)}  {what}" for command, what in commands)


class ControlError(LoadBalancerError):
    """The command was not understood or cannot be followed; nothing was changed."""


class Operator:
    """Follows commands, one after the other, each at once."""

    def __init__(
        self, hub: Hub, server: Server, load: Callable[[], Config] | None = None, *, owns_listeners: bool = True
    ) -> None:
        self._hub = hub
        self._server = server
        self._load = load  # the way back to the file and the command line; None: there is none
        self._owns_listeners = owns_listeners  # else they are systemd's
        self._verbs: dict[str, tuple[int, Callable[..., str]]] = {
            "drain": (1, self._drain),
            "undrain": (1, self._undrain),
            "add": (1, self._add),
            "remove": (1, self._remove),
            "weight": (2, self._weight),
            "reload": (0, self.reload),
        }

    def do(self, words: Sequence[str]) -> str:
        """Follow one command, such as `["drain", "b1"]`."""
        verb, *arguments = words or ("",)
        if verb not in self._verbs:
            raise ControlError(f"there is no command {verb!r}; {did_you_mean(verb, self._verbs)}")
        count, method = self._verbs[verb]
        if len(arguments) != count:
            raise ControlError(f"write {verb} {VERBS[verb][0]}".rstrip())
        done = method(*arguments)
        log.info("control: %s", done)
        return done

    def reload(self) -> str:
        """Apply the configuration as it now is; logs and raises with nothing changed if it has faults."""
        try:
            return self._reload()
        except LoadBalancerError as error:
            for line in str(error).splitlines():
                log.error("not reloaded: %s", line)
            raise

    def _reload(self) -> str:
        if self._load is None:
            raise ControlError("there is no configuration to read again")
        if self._hub.is_draining:
            raise ControlError("the balancer is ending")
        wanted = self._load()
        held = [name for name in FIXED if getattr(wanted, name) != getattr(self._hub.config, name)]
        old = self._hub.config
        config = replace(wanted, **{name: getattr(old, name) for name in held})
        if self._owns_listeners:
            self._server.relisten(config.listen)  # the only part that may fail comes first
        self._hub.reconfigure(config)
        if warning := allow_descriptors(config.limits.connections):
            log.warning("reload: %s", warning)
        changed = self._renew_backends(config.backends)
        for name in held:
            log.warning("reload: a change of %s needs a restart", name.replace("_", "-"))
        waits = f"; a change of {', '.join(held).replace('_', '-')} needs a restart" if held else ""
        return f"reloaded; {changed}{self._told_of_ports(config.listen, old.listen)}{waits}"

    def _told_of_ports(self, wanted: Sequence[Address], before: Sequence[Address]) -> str:
        if wanted == before:
            return ""
        if not self._owns_listeners:
            log.warning("reload: listen says nothing here: the ports are those of systemd's socket unit")
            return "; the ports stay those of systemd's socket unit"
        return f"; listening on {', '.join(map(str, self._server.addresses))}"

    def _renew_backends(self, wanted: Sequence[BackendConfig]) -> str:
        """Make these the backends; who stays is told by `recognized`."""
        hub = self._hub
        had = {backend: hub.upstreams[backend].config for backend in hub.fleet.backends}
        known = recognized(had, wanted)
        added = [one for one in wanted if one not in known]
        for one in added:  # before any leaves, so that there is always somebody
            hub.add(one)
        changed = sum([self._renew(backend, one) for one, backend in known.items()])
        removed = [backend for backend in had if backend not in known.values()]
        for backend in removed:
            hub.remove(backend)
        return f"backends: {len(added)} added, {changed} changed, {len(removed)} removed"

    def _renew(self, backend: Backend, config: BackendConfig) -> bool:
        was = self._hub.upstreams[backend].config
        if (config.host, config.port) != (was.host, was.port):
            self._hub.replace(backend, config)
        elif config != was:
            self._hub.adopt(backend, config)
        return config != was

    def _backend(self, name: str) -> Backend:
        known = {backend.name: backend for backend in self._hub.fleet.backends}
        if name not in known:
            raise ControlError(f"there is no backend {name!r}; {did_you_mean(name, known)}")
        return known[name]

    def _drain(self, name: str) -> str:
        backend = self._backend(name)
        self._hub.drain(backend)
        return f"backend {name} is draining; {_at_work(backend)}"

    def _undrain(self, name: str) -> str:
        self._hub.undrain(self._backend(name))
        return f"backend {name} is back"

    def _add(self, text: str) -> str:
        names = [backend.name for backend in self._hub.fleet.backends]
        free = next(f"b{n}" for n in range(1, len(names) + 2) if f"b{n}" not in names)
        config = read_backend(text, free, self._hub.config.concurrency)
        if config.name in names:
            raise ControlError(f"the name {config.name} is taken")
        for backend in self._hub.fleet.backends:
            if self._hub.upstreams[backend].config.url == config.url:
                raise ControlError(f"{config.url} is backend {backend.name} already; add another URL")
        self._hub.add(config)
        return f"backend {config.name} {config.url} was added"

    def _remove(self, name: str) -> str:
        backend = self._backend(name)
        if len(self._hub.fleet.backends) == 1:
            raise ControlError(f"{name} is the last backend; add another one first, or drain it")
        self._hub.remove(backend)
        return f"backend {name} was removed; {_at_work(backend)}"

    def _weight(self, name: str, text: str) -> str:
        backend = self._backend(name)
        try:
            weight = WEIGHT.parse(text)
        except BadValue as bad:
            raise ControlError(str(bad.at("weight"))) from bad
        self._hub.adopt(backend, replace(self._hub.upstreams[backend].config, weight=weight))
        return f"backend {name} has weight {weight:g}"


def recognized(had: Mapping[Backend, BackendConfig], wanted: Sequence[BackendConfig]) -> dict[BackendConfig, Backend]:
    """Say which backend each of the wanted is; those that are none are not in it.

    Who serves a URL stays who it is, whatever it is called now: a name that was not told is a place in the file. Then
    a name tells, with another path, or at another address (where only the name stays, and a drain).
    """
    known: dict[BackendConfig, Backend] = {}
    for identity in _IDENTITIES:
        taken = set(known.values())
        left = {identity(config): backend for backend, config in had.items() if backend not in taken}
        for one in wanted:
            if one not in known and identity(one) in left:
                known[one] = left.pop(identity(one))
    return known


_IDENTITIES: tuple[Callable[[BackendConfig], object], ...] = (
    lambda one: one.url,
    lambda one: (one.name, one.host, one.port),
    lambda one: one.name,
)


def _at_work(backend: Backend) -> str:
    tunnels = f", {backend.tunnels} tunnels open" if backend.tunnels else ""
    return f"{backend.in_flight} in flight{tunnels}"
