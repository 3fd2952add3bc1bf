"""How a request waits for its lease: in the one queue, as long as that is of use, and while its client is there."""

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.relay.claim import Claim


async def obtain(claim: Claim, *, watch_client: bool) -> Lease:
    """Return the claim's lease, after a wait if need be; raises as `Claim.ask` and `wait` do."""
    lease = claim.lease
    if lease is None and not claim.is_waiting:
        lease = claim.ask()
    if lease is None:
        lease = await wait(claim, watch_client=watch_client)
    return lease


async def wait(claim: Claim, *, watch_client: bool) -> Lease:
    """Wait in the queue for a lease; raises as `Claim.look_around` does, and leaves the queue then."""
    client = claim.client
    client.allow(claim.time_left_s())
    claim.set_alarm()
    try:
        while claim.lease is None:
            claim.look_around(watch_client=watch_client)
            await client.wakeup
        if watch_client:
            client.notice_departure()
    except BaseException:
        claim.give_up()
        raise
    return claim.lease
