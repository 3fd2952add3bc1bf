"""What takes time with a client: wait for its bytes, have it take a whole reply, part in peace, carry a tunnel."""

import time

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone, Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.tunnel import Tunnel
from ocr_tcp_lb.wire.replies import error_reply

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


async def refuse(hub: Hub, client: Client, refusal: Refusal, *, in_words: bool = True) -> None:
    """Dismiss a client whose request was none, or who is one too many: with a reply that arrives or a reset; log it."""
    record = Record(client.address, hub.new_request_id())
    record.began = time.monotonic()
    status, code, message, after_s = refusal.status, refusal.code, refusal.message, refusal.retry_after_s
    record.ending = code
    try:
        if in_words:
            date, request_id = hub.date.line(record.began), record.request_id
            client.allow(LINGER_S)
            await send_all(client, error_reply(status, code, message, request_id, retry_after_s=after_s, extra=date))
            record.status = status
            record.ended = time.monotonic()  # lingering is no part of the answer
            await linger(client)
        else:
            client.break_off()
    except ClientGone:
        record.ending = "client_left"
    finally:
        record.ended = record.ended or time.monotonic()
        hub.on_record(record)


async def carry(tunnel: Tunnel, client: Client) -> None:
    """Pass bytes on until both directions have ended, one broke, or none moved for long; the tunnel knows which."""
    try:
        while not tunnel.step():
            await client.wakeup
        while not tunnel.is_heard():
            await client.wakeup
    finally:
        tunnel.close()
