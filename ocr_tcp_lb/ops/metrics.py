"""The metrics: which there are, and what each says. Base units, `_total` for counters, one prefix.

Requests are counted when they have ended, by the backend of their last attempt (`-`: none was reached), by
status (`000`: the client got none) and by ending, the words of the access log. In L4 mode a connection is a request.
"""

import os
import resource
from collections.abc import Callable, Iterator

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.balance.snapshot import BackendSnapshot
from ocr_tcp_lb.ops.exposition import NO_LABELS, Family, Labels, counter, gauge, histogram
from ocr_tcp_lb.ops.monitor import Monitor

P = "ocr_tcp_lb_"


def render(monitor: Monitor) -> str:
    """Return all metrics as text."""
    return "".join(pieces(monitor))


def pieces(monitor: Monitor) -> Iterator[str]:
    """Yield them one family after the other, each as it stands when it is asked for."""
    for make in (_requests, _queue, _backends, _process):
        for family in make(monitor):
            yield str(family)


def _requests(monitor: Monitor) -> Iterator[Family]:
    tally = monitor.tally
    for backend in monitor.hub.fleet.backends:  # series that exist from the start have a rate from the first request
        tally.of(backend.name)
    counted = [({"backend": name}, one) for name, one in tally.backends.items()]
    yield counter(
        f"{P}requests_total",
        "Requests that have ended.",
        [
            ({**labels, "status": f"{status:03d}", "ending": ending}, count)
            for labels, one in counted
            for (status, ending), count in sorted(one.endings.items())
        ],
    )
    yield counter(
        f"{P}request_errors_total",
        "Requests that the service failed: a 5xx but 501 and 505, or a reply cut short.",
        [(lab, t.errors) for lab, t in counted],
    )
    yield histogram(
        f"{P}request_duration_seconds",
        "From the end of the request's head to the end of the reply; without tunnels.",
        [(labels, one.duration) for labels, one in counted],
    )
    yield histogram(
        f"{P}backend_response_seconds",
        "From the connection to a backend to the first byte of its reply.",
        [(labels, one.service) for labels, one in counted],
    )
    yield histogram(f"{P}queue_wait_seconds", "From asking for a backend to getting one.", [(NO_LABELS, tally.waits)])
    yield counter(f"{P}retries_total", "Attempts after a request's first.", [(NO_LABELS, tally.retries)])
    hedges = monitor.hub.fleet.hedges
    yield counter(f"{P}hedges_total", "Attempts at a second backend beside a silent one.", [(NO_LABELS, hedges)])
    received = [(labels, one.bytes_in) for labels, one in counted]
    yield counter(
        f"{P}received_bytes_total",
        "Bytes of bodies taken from clients, as sent: chunked ones with their framing.",
        received,
    )
    sent = [(labels, one.bytes_out) for labels, one in counted]
    yield counter(
        f"{P}sent_bytes_total", "Bytes of bodies given to clients, as sent: chunked ones with their framing.", sent
    )


def _queue(monitor: Monitor) -> Iterator[Family]:
    hub, fleet = monitor.hub, monitor.hub.fleet.snapshot()
    yield _one("queue_length", "Requests that wait for a backend.", fleet.waiting)
    yield _one("queue_limit", "Requests that may wait.", fleet.queue_size)
    yield _one("connections", "Clients connected.", monitor.server.connections)
    yield _one("connections_limit", "Clients that may be connected.", hub.limits.connections)
    yield _one("buffer_bytes", "Memory that held bodies and replies take.", hub.slabs.used_bytes)
    yield _one("buffer_limit_bytes", "Memory that held bodies and replies may take.", hub.slabs.capacity_bytes)
    yield _one("ready", "Whether a request that came now could be served.", monitor.is_ready)
    yield _one("draining", "Whether the balancer is about to end.", hub.is_draining)
    yield histogram(f"{P}event_loop_lag_seconds", "How late timers fire.", [(NO_LABELS, monitor.lag)])
    dropped = monitor.intake.lines_dropped
    if dropped is not None:
        help_text = "Lines of the access log that were not written: a slow reader, or a full disk."
        yield counter(f"{P}access_log_dropped_total", help_text, [(NO_LABELS, dropped)])


def _backends(monitor: Monitor) -> Iterator[Family]:
    backends = monitor.hub.fleet.snapshot().backends

    def each(value: Callable[[BackendSnapshot], float]) -> list[tuple[Labels, float]]:
        return [({"backend": one.name}, value(one)) for one in backends]

    states = [
        ({"backend": one.name, "state": state.value}, int(one.state == state.value))
        for one in backends
        for state in State
    ]
    attempts = [
        ({"backend": one.name, "outcome": outcome}, count)
        for one in backends
        for outcome, count in (("served", one.served), ("failed", one.failed))
    ]
    yield gauge(f"{P}backend_state", "1 for the state that the backend is in: up, ejected, or on trial.", states)
    help_text = (
        "Whether a request that came now may well be served by the backend: up or on trial, not draining or silent."
    )
    yield gauge(f"{P}backend_in_service", help_text, each(lambda one: one.gives_hope))
    yield gauge(f"{P}backend_draining", "Whether the backend is given nothing more.", each(lambda one: one.is_draining))
    help_text = "Whether the backend is given nothing more because it has been silent for so long that it may hang."
    yield gauge(f"{P}backend_silent", help_text, each(lambda one: one.is_silent))
    yield gauge(f"{P}backend_in_flight", "Requests that the backend has.", each(lambda one: one.in_flight))
    yield gauge(
        f"{P}backend_slots", "The most requests that the backend is given at once.", each(lambda one: one.limit)
    )
    help_text = "How many requests the backend is believed to work on side by side."
    yield gauge(f"{P}backend_concurrency", help_text, each(lambda one: one.sure))
    help_text = "Mean service time of the backend, as learned from good replies; 0 before the first."
    yield gauge(f"{P}backend_service_seconds", help_text, each(lambda one: one.service_ms / 1000))
    yield gauge(
        f"{P}backend_weight",
        "The backend's weight, as configured: its share, or with policy queue a preference.",
        each(lambda one: one.weight),
    )
    ejections = each(lambda one: monitor.ejections[one.name])
    yield counter(f"{P}backend_ejections_total", "How often the backend was taken out of service.", ejections)
    yield counter(
        f"{P}backend_attempts_total",
        "Attempts that told something about the backend: that it served, or failed.",
        attempts,
    )


def _process(monitor: Monitor) -> Iterator[Family]:
    about = monitor.about
    labels = {"version": about.version, "python": about.python, "loop": about.loop, "mode": about.mode}
    yield gauge(f"{P}build_info", "What runs here.", [(labels, 1)])
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    yield counter("process_cpu_seconds_total", "CPU time used.", [(NO_LABELS, cpu_s)])
    yield gauge(
        "process_start_time_seconds", "When the process started, in Unix time.", [(NO_LABELS, about.started_at)]
    )
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield gauge("process_max_fds", "File descriptors that may be open.", [(NO_LABELS, most)])
    try:
        pages = int(_read("/proc/self/statm").split()[1])
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        return  # not Linux
    yield gauge("process_resident_memory_bytes", "Memory in use.", [(NO_LABELS, pages * resource.getpagesize())])
    yield gauge("process_open_fds", "File descriptors open.", [(NO_LABELS, descriptors)])


def _one(name: str, help_text: str, value: float) -> Family:
    return gauge(f"{P}{name}", help_text, [(NO_LABELS, int(value))])


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
