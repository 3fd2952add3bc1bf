"""Free ports for children and tests."""

import random
import socket

PORTS = (10_240, 32_768)


def free_port() -> int:
    """A loopback port that nobody has now, and that nobody is given by chance.

    Below those that the kernel gives to whoever asks for any (ip_local_port_range begins at 32768): one of these would
    often be somebody's before the child has it, and then somebody else answers in its place.
    """
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
