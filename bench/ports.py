"""Free ports for children and tests."""

import random
import socket
from contextlib import ExitStack

PORTS = (10_240, 32_768)


def free_port(in_a_row: int = 1) -> int:
    """A loopback port that nobody has now, and that nobody is given by chance; the first of so many.

    Below those that the kernel gives to whoever asks for any (ip_local_port_range begins at 32768): one of these would
    often be somebody's before the child has it, and then somebody else answers in its place.
    """
    while True:
        first = random.randrange(PORTS[0], PORTS[1] - in_a_row)
        with ExitStack() as held:
            try:
                for port in range(first, first + in_a_row):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
