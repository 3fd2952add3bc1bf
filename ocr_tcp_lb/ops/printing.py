"""What a command prints, to readers that may have left, disks that may be full, and streams that may be closed."""

import os
import sys
from typing import TextIO

from ocr_tcp_lb.errors import LoadBalancerError


def put(text: str, out: TextIO | None = None) -> bool:
    """Print a line or more to `out` (standard output); False if its reader, such as head(1), has seen enough.

    Raises LoadBalancerError where it cannot be written. All that is printed after either goes nowhere.
    """
    stream = out or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _discard(stream)
        return False
    except OSError as error:
        _discard(stream)
        raise LoadBalancerError(f"cannot write the output: {error.strerror or error}") from error
    return True


def harmless(text: str) -> str:
    """What somebody else said, with all that cannot be printed escaped, so that it cannot fool a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def make_standard_streams() -> None:
    """See that there are all three: a shell or a service manager may have closed some (`2>&-`).

    Else a socket would get the number of one, and what is printed would go to a client.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(fd, True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _discard(stream: TextIO) -> None:
    """What is left in the buffer must go somewhere, or Python complains at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
