"""Messages to standard error: with a time stamp for people, or as systemd's journal wants them.

The journal adds time and program itself and reads a priority from the front of each line (sd-daemon(3)); it tells a
service that it listens by JOURNAL_STREAM, the device and inode of the stream (systemd.exec(5)).

They are written by a thread of their own: a terminal that was stopped or a pipe that nobody reads must not stop the
event loop. Whoever ends the program, or writes to standard error past this, calls `flush_messages` before.
"""

import logging
import os
from collections.abc import Mapping

from ocr_tcp_lb.config import MIB
from ocr_tcp_lb.ops.outlet import Outlet

log = logging.getLogger(__name__)

MOST_BYTES = MIB  # of messages that wait for their reader
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


class JournalFormatter(logging.Formatter):
    """`<6>message`; every line of a traceback has the prefix, since the journal takes lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        priority = next((priority for level, priority in _PRIORITIES if record.levelno >= level), _DEBUG)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def is_journal(fd: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to the descriptor goes to the journal."""
    try:
        about = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{about.st_dev}:{about.st_ino}"


class PlainFormatter(logging.Formatter):
    """With a time stamp, but for what was `say`-d."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        return record.getMessage() if hasattr(record, "is_said") else super().format(record)


class OutletHandler(logging.Handler):
    """Hands each message to a thread that writes it; many that nobody reads are dropped, and then counted."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        # That they cannot be written can be told nowhere.
        self._outlet = Outlet(fd, self._report, most_bytes=MOST_BYTES, complain=lambda what: None)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message; logging's lock is held, so that it is one at a time."""
        try:
            self._outlet.write([self._line(record)])
            self._outlet.pass_on()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all are written, or for long enough; logging calls it at the program's end, too."""
        self.acquire()
        try:
            self._outlet.flush()
        finally:
            self.release()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _report(self, count: int, why: str) -> bytes:
        words = (count, why)
        return self._line(log.makeRecord(log.name, logging.WARNING, "", 0, "%d lines were dropped: %s", words, None))


def say(line: str) -> None:
    """Tell the operator something as it is, in the order of the messages."""
    log.info("%s", line, extra={"is_said": True})


def flush_messages() -> None:
    """Wait until all messages are written, at most a moment."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def set_up_messages(fd: int, environment: Mapping[str, str] = os.environ) -> None:
    """Send the messages of all rooms to standard error, whose descriptor is given, once."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = OutletHandler(fd)
    if is_journal(fd, environment):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
