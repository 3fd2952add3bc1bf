"""Messages as the journal wants them, and as people do."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocr_tcp_lb.ops.journal import JournalFormatter, is_journal


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("x", level, __file__, 1, message, (), None)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7)],
)
def test_level_becomes_a_priority(level: int, priority: int) -> None:
    assert JournalFormatter("%(message)s").format(record(level, "words")) == f"<{priority}>words"


def test_every_line_has_its_prefix() -> None:
    assert JournalFormatter("%(message)s").format(record(logging.ERROR, "a\nb")) == "<3>a\n<3>b"


def test_journal_is_recognized_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as file:
        about = os.fstat(file.fileno())
        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino + 1}"})
        assert not is_journal(file.fileno(), {})
    assert not is_journal(10**6, {})


def test_messages_of_a_start_carry_priorities_and_no_time_in_the_journal(tmp_path: Path) -> None:
    script = (
        "import logging, sys; from ocr_tcp_lb.ops.journal import set_up_messages; "
        "set_up_messages(2); logging.info('started')"
    )
    with (tmp_path / "journal").open("w") as file:
        about = os.fstat(file.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        subprocess.run([sys.executable, "-c", script], stderr=file, env=environment, check=True, timeout=30)
    assert (tmp_path / "journal").read_text() == "<6>started\n"
