"""Messages as the journal wants them, and as people do."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def run(script: str, **streams: Any) -> None:
    start = "import logging, sys; from ocr_tcp_lb.ops.journal import *; set_up_messages(2); "
    subprocess.run([sys.executable, "-c", start + script], check=True, timeout=30, **streams)


def test_messages_come_before_what_the_end_says(tmp_path: Path) -> None:
    script = "say('said'); [logging.info('%d', n) for n in range(5)]; flush_messages(); print('end', file=sys.stderr)"
    with (tmp_path / "log").open("w") as file:
        run(script, stderr=file)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "said", "as it is"
    assert [line.partition(" INFO ")[2] for line in lines[1:-1]] == list("01234")
    assert lines[-1] == "end"


def test_messages_of_a_crash_are_written() -> None:
    script = "logging.info('before'); raise ValueError('crash')"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(script, stderr=subprocess.PIPE, text=True)
    assert " INFO before\n" in failed.value.stderr
    assert "ValueError: crash" in failed.value.stderr


def test_reader_that_stalls_stops_nobody_and_what_is_dropped_is_counted_in_a_message() -> None:
    script = "[logging.info('x' * 999) for n in range(3000)]; print('goes on', flush=True); sys.stdin.read()"
    start = "import logging, sys; from ocr_tcp_lb.ops.journal import *; set_up_messages(2); "
    words = [sys.executable, "-c", start + script]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "goes on\n", "though nobody has read a message"
        _, said = process.communicate(timeout=30)
    told = re.findall(r"(?m)^.* WARNING (\d+) lines were dropped: the reader of this log is too slow$", said)
    assert said.count(" INFO x") + sum(map(int, told)) == 3000
    assert " lines were dropped" in said.splitlines()[-1], "at the latest at the end"


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
