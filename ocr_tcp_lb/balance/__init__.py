"""Who serves next: backends with their limits and health, the one queue, the policies, and the fleet.

Pure: time comes in as `now` (monotonic seconds), chance as `rng`; nothing here waits, opens or logs anything.
`Fleet` is the door: it decides and returns leases, the caller acts on them.
"""

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.balance.outlook import Order
from ocr_tcp_lb.balance.policy import POLICIES
from ocr_tcp_lb.balance.queue import QueueFull
from ocr_tcp_lb.balance.snapshot import BackendSnapshot, FleetSnapshot

__all__ = [
    "POLICIES",
    "Backend",
    "BackendSnapshot",
    "BackendSpec",
    "Fleet",
    "FleetSnapshot",
    "Lease",
    "Order",
    "Outcome",
    "QueueFull",
    "Ticket",
]
