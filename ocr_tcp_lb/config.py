"""The effective configuration as frozen values: what the operator decided, checked, in the units the code uses.

Nothing here parses or prints (see `settings`, `cli`); a reload makes another configuration. Sizes are bytes, times are
seconds, as the names say. Most defaults have their reason or precedent beside them.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["http", "tcp"]
PolicyName = Literal["queue", "round-robin", "random", "least-outstanding", "p2c", "peak-ewma"]
Concurrency = int | Literal["auto"]
AccessLogFormat = Literal["text", "json", "off"]
LoopName = Literal["auto", "uvloop", "asyncio"]
ProxyVersion = Literal[1, 2]
Abandon = Literal["hold", "cancel"]
OrderName = Literal["fifo", "size"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX_CLIENT = "unix"  # stands for the address of a client on a unix socket, which has none

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_ADDRESSES_KNOWN = 4096  # about 0.5 MiB


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address; an empty host means every IPv4 and IPv6 address of the machine."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix stream socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress
DEFAULT_ADMIN = TcpAddress("127.0.0.1", 4998)


def is_local(address: Address) -> bool:
    """Whether only this machine can connect to the address."""
    if isinstance(address, UnixAddress) or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False  # every address, or a name that may mean any


def plain_address(text: str) -> str:
    """Return an IP address as the client's own: an IPv6 socket shows an IPv4 client as `::ffff:192.0.2.1`."""
    plain = text.removeprefix("::ffff:")
    return plain if "." in plain else text


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose word about their clients is taken; by default nobody's is."""

    networks: tuple[Network, ...] = ()
    unix: bool = False  # whoever may open our unix sockets, which file permissions decide
    _known: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)  # answers so far

    def trusts(self, address: str) -> bool:
        """Say whether the client with this IP address, or `UNIX_CLIENT`, is a trusted proxy.

        A connection asks, and often again, so answers are kept: 0.1 us instead of 5.
        """
        if not self:
            return False
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _ADDRESSES_KNOWN:
                self._known.clear()
            known = self._known[address] = self._judge(address)
        return known

    def _judge(self, address: str) -> bool:
        if address == UNIX_CLIENT:
            return self.unix
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:  # RFC 4291, 2.5.5.2
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.networks)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def __or__(self, other: "TrustedProxies") -> "TrustedProxies":
        return TrustedProxies(tuple(dict.fromkeys(self.networks + other.networks)), self.unix or other.unix)


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One service behind the balancer: where it is, which path it answers on, how much it can take."""

    name: str
    host: str
    port: int
    path: str = "/"
    weight: float = 1.0
    concurrency: Concurrency = "auto"
    health_path: str = ""  # empty: a TCP connect is the health check
    max_idle_s: float = 1.0  # Werkzeug and gunicorn close idle connections after 2 s or at once; stay below
    abandon: Abandon = "hold"  # its slot when the client leaves: `cancel` for services that notice and stop
    send_proxy: ProxyVersion | None = None  # None: no PROXY protocol header before the connection's bytes

    @property
    def address(self) -> TcpAddress:
        """Where it listens."""
        return TcpAddress(self.host, self.port)

    @property
    def url(self) -> str:
        """The address as the operator wrote it."""
        return f"http://{self.address}{self.path}"


@dataclass(frozen=True, slots=True)
class FairBy:
    """What tells clients apart, so that the queue is shared fairly between them."""

    by: Literal["address", "header", "off"] = "address"
    header: str = ""  # the name of the field, where it is one

    def __str__(self) -> str:
        return f"header:{self.header}" if self.by == "header" else self.by


def default_queue_size(backends: int) -> int:
    """Return how many may wait unless the operator says: 16 a backend, 15 s of work where one takes 1 s.

    Never less than 100: a backend whose concurrency is yet to be learned starts with one request, and a client of a
    threaded server that sends 50 at once must not find the queue full. What waits costs only memory, bounded elsewhere.
    """
    return max(100, 16 * backends)


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """The one queue: how many requests may wait, how long, and in which order."""

    size: int = default_queue_size(3)
    timeout_s: float = 60.0  # by then nginx before us would give up (proxy_read_timeout)
    order: OrderName = "size"  # counts only once sizes were seen to explain service times; see `balance.order`
    fair_by: FairBy = field(default_factory=FairBy)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase may take, in seconds."""

    connect_s: float = 3.0  # one lost SYN (retransmitted after 1 s) is survived
    head_s: float = 10.0  # from the first byte of a head to its last; against slow-loris clients
    idle_s: float = 60.0  # between two bytes of a body, and between two requests (nginx: 60-75 s)
    response_s: float = (
        300.0  # silence of a backend that has the request; OCR may take minutes (gunicorn: 30 s, nginx: 60)
    )
    drain_s: float = 120.0  # most recognitions end; systemd kills after 90 s by default, our unit after 150


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients may send and what the process may hold."""

    head_bytes: int = 16 * KIB  # HAProxy's tune.bufsize
    head_fields: int = 100  # HAProxy's tune.http.maxhdr is 101
    body_bytes: int = 64 * MIB  # dozens of scanned pages; nginx's 1 MiB is less than many a single one
    connections: int = 4096  # two descriptors each, of the 65,536 that the unit allows (nginx: 512 a process)
    connections_per_client: int = 0  # of one address; 0: any number, since many clients may share one address
    request_buffer_bytes: int = 8 * MIB  # a scanned page fits; held before a backend is taken
    reply_buffer_bytes: int = 1 * MIB  # most JSON fits; held until it is whole, where it could be had elsewhere
    buffer_memory_bytes: int = 256 * MIB  # all of these together: 32 of the largest requests


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `run` needs; made by `settings`, read by `app`."""

    listen: tuple[Address, ...] = (TcpAddress("", 4999),)
    backends: tuple[BackendConfig, ...] = (
        BackendConfig("b1", "127.0.0.1", 5000, "/get_ocr_api"),
        BackendConfig("b2", "127.0.0.1", 5001, "/get_ocr"),
        BackendConfig("b3", "127.0.0.1", 5002, "/get_ocr_api"),
    )
    mode: Mode = "http"
    policy: PolicyName = "queue"
    concurrency: Concurrency = "auto"  # of backends that do not say their own, also of those that join later
    queue: QueueConfig = field(default_factory=QueueConfig)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    retries: int = 2  # other backends to try where replay is safe (HAProxy: 3, to connect)
    replay_post: bool = False  # the operator says that a POST may run twice
    hedge: bool = False  # ask a second backend when the first is silent for unusually long
    health_interval_s: float = 2.0  # between checks of an idle backend (HAProxy: 2 s); 0: none
    debug_headers: bool = False  # X-Backend and X-Attempts on replies
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    proxy_protocol: bool = False  # each connection of a trusted proxy begins with a PROXY protocol header
    admin: Address | None = DEFAULT_ADMIN  # None: no admin listener
    admin_token_file: str = ""  # empty: whoever can connect to the admin listener is trusted
    access_log: AccessLogFormat = "text"
    loop: LoopName = "auto"
