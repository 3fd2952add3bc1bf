"""What takes time with a client: wait for its bytes, have it take a whole reply, part in peace, carry a tunnel."""

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone, SourceBroke
from ocr_tcp_lb.relay.tunnel import Tunnel

LINGER_S = 5.0  # how long a refused client may take to read its answer (nginx: lingering_timeout 5 s)
READS_A_TURN = 16


async def wait_readable(client: Client) -> bool:
    """Wait for bytes or an end; False when the deadline passed first."""
    channel = client.channel
    while not channel.readable:
        if client.expired:
            return False
        channel.want_read()
        await client.wakeup
    return True


async def send_all(client: Client, data: bytes, idle_s: float | None = None) -> None:
    """Send all of it, within the deadline, which `idle_s` renews whenever the client takes something.

    Raises ClientGone when that cannot be.
    """
    channel = client.channel
    left = memoryview(data)
    while True:
        try:
            sent = channel.send(left)
        except OSError as error:
            raise ClientGone(str(error)) from error
        left = left[sent:]
        if not left:
            return
        if sent and idle_s is not None:
            client.allow(idle_s)
        while not channel.writable:
            if client.expired:
                raise ClientGone("the client does not read")
            channel.want_write()
            await client.wakeup


async def linger(client: Client) -> None:
    """Let the client read a last answer before the connection goes.

    Closing with unread bytes would make the kernel send a reset, which can destroy the answer on its way.
    """
    channel = client.channel
    channel.finish_sending()
    client.allow(LINGER_S)
    while not client.expired and await wait_readable(client):
        for _ in range(READS_A_TURN):
            try:
                received = channel.receive_into(scratch_view)
            except OSError:
                return
            if received == 0:
                return
            if received is None:
                break
        if channel.readable:  # it sends faster than we read: others, and the deadline, have their turn
            client.wakeup.fire_soon()
            await client.wakeup


async def dismiss(client: Client, reply: bytes) -> None:
    """Give a last answer that really arrives; closing is up to the caller. Raises ClientGone."""
    client.allow(LINGER_S)
    await send_all(client, reply)
    await linger(client)


async def carry(tunnel: Tunnel, client: Client) -> None:
    """Pass bytes on until both directions have ended, one broke, or none moved for long; the tunnel knows which."""
    try:
        while not tunnel.step():
            await client.wakeup
    except SourceBroke:
        pass
    finally:
        tunnel.close()
