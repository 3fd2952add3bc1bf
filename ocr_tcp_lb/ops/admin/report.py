"""The state of everything as plain data: what `/status.json` says, and what the page and `status` are made of.

Numbers that are unbounded are null. All counts come from the same place as the metrics.
"""

import math
import time
from dataclasses import asdict
from typing import Any

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.balance.snapshot import BackendSnapshot
from ocr_tcp_lb.ops.accesslog import Clock, printable
from ocr_tcp_lb.ops.histogram import FINE_SERVICE_BOUNDS_S, percentile
from ocr_tcp_lb.ops.monitor import Monitor, seconds_up
from ocr_tcp_lb.ops.tally import BackendTally, Tally
from ocr_tcp_lb.ops.words import rounded_ms

Report = dict[str, Any]


def report(monitor: Monitor, after: int = 0) -> Report:
    """Return the state now, and the points of the history after number `after`."""
    hub, tally, about = monitor.hub, monitor.tally, monitor.about
    fleet = hub.fleet.snapshot()
    now = time.monotonic()
    return {
        "version": about.version,
        "mode": about.mode,
        "loop": about.loop,
        "started_at": round(about.started_at, 3),
        "up_s": round(seconds_up(about), 1),
        "listen": [str(address) for address in monitor.server.addresses],
        "is_ready": monitor.is_ready,
        "is_draining": hub.is_draining,
        "policy": fleet.policy,
        "order": fleet.order,
        "size_explains": round(fleet.size_explains, 3),
        "requests": tally.requests,
        "errors": tally.errors,
        "retries": tally.retries,
        "in_flight": monitor.in_flight,
        "waiting": fleet.waiting,
        "queue_size": fleet.queue_size,
        "connections": monitor.server.connections,
        "connections_limit": hub.limits.connections,
        "buffer_bytes": hub.slabs.used_bytes,
        "buffer_limit_bytes": hub.slabs.capacity_bytes,
        "duration_ms": _percentiles(tally),
        "unanswered": _unanswered(tally),
        "backends": [
            {
                **_backend(one, live, tally.of(one.name), now),
                "url": hub.upstreams[live].config.url,
                "ejections": monitor.ejections[one.name],
            }
            for one, live in zip(fleet.backends, hub.fleet.backends, strict=True)
        ],
        "recent_errors": _recent_errors(tally),
        "history": [asdict(point) for point in monitor.history.after(after)],
    }


def _backend(one: BackendSnapshot, live: Backend, counts: BackendTally, now: float) -> Report:
    known = {key: None if value in (math.inf, -math.inf) else value for key, value in asdict(one).items()}
    ejected = live.health.state is State.EJECTED
    p95 = percentile(counts.duration.counts, FINE_SERVICE_BOUNDS_S, 0.95)
    return {
        **known,
        "service_ms": round(one.service_ms, 1),
        "requests": counts.requests,
        "errors": counts.errors,
        "p95_ms": rounded_ms(p95),
        "trial_in_s": round(max(0.0, live.health.retry_at - now), 1) if ejected else None,
    }


def _unanswered(tally: Tally) -> Report:
    """The requests that no backend was reached for, by ending: refused, timed out in the queue, given up."""
    found: dict[str, int] = {}
    for (_, ending), count in tally.of("-").endings.items():
        found[ending] = found.get(ending, 0) + count
    return found


def _percentiles(tally: Tally) -> Report:
    counts = tally.duration_counts()
    return {f"p{share}": rounded_ms(percentile(counts, FINE_SERVICE_BOUNDS_S, share / 100)) for share in (50, 95, 99)}


def _recent_errors(tally: Tally) -> list[Report]:
    """The latest first."""
    clock = Clock()
    return [
        {
            "at": clock.stamp(record.ended),
            "request_id": printable(record.request_id),
            "client": record.client,
            "method": printable(record.method),
            "target": printable(record.target)[:200],
            "status": record.status,
            "backend": record.backend,
            "attempts": record.attempts,
            "ending": record.ending,
            "total_ms": rounded_ms(record.ended - record.began),
        }
        for record in reversed(tally.recent_errors)
    ]
