"""The scheduler's own cost: CPU per decision of a small fleet and of a large one, with and without a queue.

A decision is one `settle` and one `ask`, each of which may choose a backend. All variants of the queue are on: keys,
sizes, and backends of different speeds. Each backend has given WARM answers before: a fleet that has not yet learned
its speeds decides differently, and a large one would take longer to learn them than the measurement lasts.
"""

import random
import time

from ocr_tcp_lb.balance import BackendSpec, Fleet, Lease, Outcome, Ticket

SMALL = (3, 10)  # backends, waiting
LARGE = (1000, 10_000)
CLIENTS = 50
SLOTS = 2
WARM = 40


def decision_us(backends: int, waiting: int, rounds: int = 20_000) -> float:
    """Return CPU microseconds for a settle and an ask, while `waiting` requests wait (0: while slots are free)."""
    rng = random.Random(1)
    specs = [BackendSpec(f"w{number}", 1.0, SLOTS) for number in range(backends)]
    fleet = Fleet(specs, "queue", 1_000_000, rng, order="size")
    now = 0.0

    def ticket() -> Ticket:
        return Ticket(now, rng.randrange(1000, 1_000_000), key=str(rng.randrange(CLIENTS)))

    in_flight: list[Lease] = []

    def ask() -> None:
        lease = fleet.ask(ticket(), now)
        if lease is not None:
            in_flight.append(lease)

    for _ in range(backends * SLOTS + waiting if waiting else backends):
        ask()
    began = 0.0
    for number in range(backends * WARM + rounds):
        if number == backends * WARM:
            began = time.process_time()
        now += 1.0 / backends
        place = rng.randrange(len(in_flight))
        in_flight[place], in_flight[-1] = in_flight[-1], in_flight[place]
        in_flight += fleet.settle(in_flight.pop(), Outcome.SERVED, now)
        ask()
    return (time.process_time() - began) / rounds * 1e6


def cost_table(rounds: int = 20_000) -> str:
    """Return a Markdown table of costs, and how the large fleet compares."""
    lines = ["| | 3 backends, 10 waiting | 1,000 backends, 10,000 waiting | ratio |", "|---|---|---|---|"]
    for name, is_queueing in (("queueing", True), ("half the slots free", False)):
        small, large = (
            min(decision_us(backends, waiting * is_queueing, rounds) for _ in range(3))
            for backends, waiting in (SMALL, LARGE)
        )
        lines.append(f"| {name} | {small:.1f} us | {large:.1f} us | {large / small:.2f} |")
    return "\n".join(lines)
