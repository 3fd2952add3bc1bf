"""What stays on this machine is not paced.

BBR, the congestion control of many servers, spreads what is sent over time, by a timer for each piece. On the loopback
there is nothing to spare: the timers only cost. Reno, which every Linux has and every user may choose, has none.
Measured where BBR is the default, bodies that are spliced, 64 clients: 54 % less CPU for 300 KB (70 us, not 153), 36 %
for 4 MB; what is copied 3 % less, small requests the same.
"""

import functools
import socket
from contextlib import suppress
from typing import Final

UNPACED: Final = b"reno"
PACED: Final = b"bbr"  # and bbr2, bbr3
_NAME_BYTES: Final = 16  # TCP_CA_NAME_MAX
_OPTION: Final = getattr(socket, "TCP_CONGESTION", None)


def unpace(sock: socket.socket, peer: str) -> None:
    """See to it that a TCP socket does not pace, if its peer's address is this machine's own."""
    if is_paced_by_default() and is_loopback(peer):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _OPTION or 0, UNPACED)


def is_loopback(address: str) -> bool:
    """Whether what is sent there never leaves this machine; addresses of its network cards are not looked for."""
    return address.startswith("127.") or address == "::1"


@functools.cache
def is_paced_by_default() -> bool:
    """Whether this machine paces what nobody says anything else of; not where it does not say."""
    if _OPTION is None:
        return False
    try:
        with socket.socket() as sock:
            return sock.getsockopt(socket.IPPROTO_TCP, _OPTION, _NAME_BYTES).startswith(PACED)
    except OSError:
        return False
