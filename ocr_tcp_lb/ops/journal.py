"""Messages to standard error: with a time stamp for people, or as systemd's journal wants them.

The journal adds time and program itself and reads a priority from the front of each line (sd-daemon(3)); it tells a
service that it listens by JOURNAL_STREAM, the device and inode of the stream (systemd.exec(5)).
"""

import logging
import os
from collections.abc import Mapping

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


def set_up_messages(fd: int, environment: Mapping[str, str] = os.environ) -> None:
    """Send the messages of all rooms to standard error, whose descriptor is given, once."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    if is_journal(fd, environment):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
