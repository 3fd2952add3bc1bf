"""Steps that several stories share."""

import asyncio

from relay.support import GET, Balancer, House, Peer

TURNS = 30


async def few_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def in_computation(house: House, request: bytes = GET) -> tuple[Balancer, Peer, Peer]:
    """A client whose request a backend has, and works on."""
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    client = await lb.client()
    await client.send(request)
    peer = await backend.accept()
    await peer.read_message()
    return lb, client, peer
