"""Late hedging (`--hedge`): when a backend is silent for unusually long, another is asked, and the first reply wins.

It stands in for an `Attempt` where a request may run twice and its whole body is held, and is one until the silence
has lasted too long (`balance.hedge`). From then on each of the two runs by itself (`runner`), and this waits for the
first that has its reply whole, or the head of one too long to be held. That one's connection is taken over by another
`Attempt`, as if nothing had happened; the other one is abandoned.
"""

import time

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.answer import PASSING_ERRORS
from ocr_tcp_lb.relay.attempt import Attempt
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.failures import StillSilent
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.request import Begun, Request
from ocr_tcp_lb.relay.runner import Runner
from ocr_tcp_lb.relay.turns import ImpatientTurns
from ocr_tcp_lb.relay.upstream import Upstream

LOOK_AGAIN_S = 0.5  # for a backend that can be asked: all are busy, or requests wait that were asked of nobody yet


class FirstAttempt(Attempt):
    """An attempt that can give its connection away when it raises StillSilent."""

    def __init__(self, hub: Hub, request: Request, upstream: Upstream) -> None:
        turns = ImpatientTurns(hub, request, upstream.name)
        super().__init__(hub, request, upstream, turns)
        self._patience_s = turns.patience_s

    def as_runner(self, runner: Runner) -> None:
        """Let a runner go on with it."""
        connection, self._connection = self._connection, None
        assert connection is not None
        request = self._request
        left_s = self._hub.timeouts.response_s - self._patience_s
        runner.go_on(connection, request.upload.bytes_sent, request.record.connected, max(0.0, left_s))


class HedgedAttempt:
    """One attempt, or two; with the face of `Attempt`. The claim's lease is whoever's reply is passed on."""

    def __init__(self, hub: Hub, request: Request, upstream: Upstream, claim: Claim) -> None:
        self._hub = hub
        self._request = request
        self._claim = claim
        self._first = FirstAttempt(hub, request, upstream)
        self._attempt: Attempt = self._first
        self._runners: list[Runner] = []

    @property
    def client_persists(self) -> bool:
        """Whether the client's connection may carry another request."""
        return self._attempt.client_persists

    async def run(self, begun: Begun | None = None) -> Outcome:
        """Carry the request out, and raise, as `Attempt.run` does.

        When it raises, the claim may have no lease any more: then those of both attempts are taken care of.
        """
        try:
            outcome = await self._first.run(begun)
        except StillSilent:
            outcome = await self._run_both()
        lease = self._claim.lease
        if outcome is Outcome.SERVED and lease is not None and lease.answered_at is not None:
            self._hub.fleet.patience.note(lease.answered_at - lease.granted_at)
        return outcome

    async def _run_both(self) -> Outcome:
        lease, self._claim.lease = self._claim.lease, None
        assert lease is not None
        first = Runner(self._hub, self._request, lease, self._request.client.wakeup.fire_soon)
        self._runners.append(first)
        self._first.as_runner(first)
        try:
            winner = await self._first_reply()
        except BaseException:
            self._claim.note_failure(lease, Outcome.BROKE, time.monotonic())
            for runner in self._runners:
                runner.abandon()
            raise
        for runner in self._runners:
            if runner is not winner:
                runner.abandon()
        return await self._pass_on(winner)

    async def _first_reply(self) -> Runner:
        """Wait for whoever is ready first. Raises AttemptFailed when all have failed, and ClientGone."""
        client = self._request.client
        while True:
            alive = [runner for runner in self._runners if not runner.is_over]
            for runner in [one for one in alive if one.is_ready]:
                if len(alive) == 1 or not self._is_error(runner):
                    return runner
                runner.abandon(Outcome.SERVER_ERROR)  # the other one may do better
                alive.remove(runner)
            if not alive:
                failure = self._runners[-1].failure or self._runners[0].failure
                assert failure is not None
                raise failure
            if len(self._runners) == 1:
                self._ask_another()
            client.notice_departure()
            client.channel.want_read()
            client.allow(LOOK_AGAIN_S)
            await client.wakeup

    @staticmethod
    def _is_error(runner: Runner) -> bool:
        return runner.reply is not None and runner.reply.status in PASSING_ERRORS

    def _ask_another(self) -> None:
        """Send the request to a second backend, if one can be had now."""
        hub, request = self._hub, self._request
        lease = hub.fleet.hedge(self._runners[0].lease, time.monotonic())
        if lease is None:
            return
        request.record.attempts += 1
        request.record.backend = lease.backend.name
        runner = Runner(hub, request, lease, request.client.wakeup.fire_soon)
        self._runners.append(runner)
        runner.begin()

    async def _pass_on(self, winner: Runner) -> Outcome:
        request, hub = self._request, self._hub
        lease = self._claim.lease = request.lease = winner.lease
        record = request.record
        record.backend = lease.backend.name
        silence_s = lease.granted_at - self._runners[0].lease.granted_at  # none if the first has won
        record.asked += silence_s  # as where an attempt before has failed: only `total` has its time
        record.leased += silence_s
        self._attempt = Attempt(hub, request, hub.upstreams[lease.backend])
        request.client.allow(hub.timeouts.response_s)
        try:
            begun = winner.take_over(request.client.wakeup)
            request.upload.was_sent(begun.sent)
            return await self._attempt.run(begun)
        finally:
            record.connected = winner.connected_at

    async def outlive_client(self) -> None:
        """As `Attempt.outlive_client`; two that run by themselves outlive the client without help."""
        await self._attempt.outlive_client()

    def close(self) -> None:
        """Close what was not given back; safe at any time."""
        self._first.close()
        self._attempt.close()
        for runner in self._runners:
            if runner.is_over:
                runner.close()
