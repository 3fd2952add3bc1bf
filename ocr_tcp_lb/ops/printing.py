"""What a command prints as its result, to readers that may have left and disks that may be full."""

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


def _discard(stream: TextIO) -> None:
    """What is left in the buffer must go somewhere, or Python complains at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
