"""Which trouble comes when: two tracks of events, each event undone before the next one of its track.

One track breaks workers, the other one operates the balancer, so that reloads and drains happen inside every trouble.
"""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .fleet import Balancer, Worker

TROUBLES = ("kill", "stop", "all down", "refuse", "error", "truncate", "reset", "slow")
OPERATIONS = ("drain", "reload", "weight")
TROUBLE_EVERY, OPERATION_EVERY = 60, 35  # answers; each second time is an undoing
STOPPED_AT_MOST_S = 5.0  # long enough to be noticed, and less than the response time-out

Undo = Callable[[], object]


class Track:
    """Events of some kinds, all of them once before any comes again, in a thread of its own: one at a time."""

    def __init__(self, kinds: Sequence[str], every: int, rng: random.Random, begin: Callable[[str], Undo]) -> None:
        self._kinds = kinds
        self._every = every
        self._rng = rng
        self._begin = begin
        self._bag: list[str] = []
        self._undo: Undo | None = None
        self._thread = ThreadPoolExecutor(1)
        self._done: list[Future[None]] = []
        self.happened: Counter[str] = Counter()

    def on_answer(self, count: int) -> None:
        """Do what is due after so many answers."""
        if count % self._every == 0:
            self._done.append(self._thread.submit(self._next))

    def _next(self) -> None:
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()
            return
        self._bag = self._bag or self._rng.sample(self._kinds, len(self._kinds))
        kind = self._bag.pop()
        self._undo = self._begin(kind)
        self.happened[kind] += 1

    def end(self) -> None:
        """Wait for what is under way, and put everything right; raises what went wrong."""
        self._thread.shutdown()
        for one in self._done:
            one.result()
        if self._undo is not None:
            self._undo()


class Chaos:
    """Both tracks; three workers are always configured, the fourth comes and goes."""

    def __init__(self, workers: list[Worker], balancer: Balancer, seed: int) -> None:
        self._all = workers
        self._workers = workers[:3]
        self._balancer = balancer
        self._rngs = random.Random(f"troubles {seed}"), random.Random(f"operations {seed}")
        self._tracks = (
            Track(TROUBLES, TROUBLE_EVERY, self._rngs[0], self._trouble),
            Track(OPERATIONS, OPERATION_EVERY, self._rngs[1], self._operate),
        )

    @property
    def happened(self) -> Counter[str]:
        """How often each kind of event has come."""
        return self._tracks[0].happened + self._tracks[1].happened

    def on_answer(self, count: int) -> None:
        """Do what is due after so many answers."""
        for track in self._tracks:
            track.on_answer(count)

    def end(self) -> None:
        """Put everything right."""
        for track in self._tracks:
            track.end()

    def _trouble(self, kind: str) -> Undo:
        worker = self._rngs[0].choice(self._workers)
        match kind:
            case "kill":
                worker.kill()
                return worker.start
            case "stop":
                worker.signal(signal.SIGSTOP)
                return self._continue_in_time(worker)
            case "all down":  # and up again at once: with nobody left no answer would come to count on
                for one in self._workers:
                    one.kill()
                for one in self._workers:
                    one.start()
                return lambda: None
            case "refuse":
                worker.refuse()
                return worker.accept
            case _:
                worker.behave(kind)
                return lambda: worker.behave("ok")

    @staticmethod
    def _continue_in_time(worker: Worker) -> Undo:
        """Undone after a while, too: where it has the requests of all clients, no answer comes to count on."""
        timer = threading.Timer(STOPPED_AT_MOST_S, worker.signal, (signal.SIGCONT,))
        timer.start()

        def undo() -> None:
            timer.cancel()
            worker.signal(signal.SIGCONT)

        return undo

    def _operate(self, kind: str) -> Undo:
        name, balancer = self._rngs[1].choice(self._workers).name, self._balancer
        match kind:
            case "drain":
                balancer.control("drain", name)
                return lambda: balancer.control("undrain", name)
            case "weight":
                balancer.control("weight", name, "3")
                return lambda: balancer.control("weight", name, "1")
            case _:
                balancer.configure(self._all)
                balancer.control("reload")
                return self._reload_as_before

    def _reload_as_before(self) -> None:
        self._balancer.configure(self._workers)
        self._balancer.process.signal(signal.SIGHUP)
