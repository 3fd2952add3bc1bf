"""What a process tree has used, from Linux itself: CPU time to the nanosecond, and memory.

CPU time is read from each process's own clock (`clock_getcpuclockid(3)`: user and system, all its threads, those
that ended too), because the figures of /proc/PID/stat come in ticks of 10 ms. Children that ended and were
waited for are added from there.
"""

import os
import re
import time
from pathlib import Path

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h: the scheduler's own account
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process and all its descendants that run now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = _fields(stat)
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """User and system seconds of the tree so far."""
    total = 0.0
    for pid in tree(root):
        total += time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        cutime, cstime = _fields(Path(f"/proc/{pid}/stat"))[13:15]
        total += (int(cutime) + int(cstime)) * _TICK_S
    return total


def peak_rss_mib(root: int) -> float:
    """The most memory that each process of the tree has held, summed; shared pages count once each."""
    return _memory_mib(root, "VmHWM")


def rss_mib(root: int) -> float:
    """The memory that the tree holds now; shared pages count once for each process."""
    return _memory_mib(root, "VmRSS")


def _memory_mib(root: int, field: str) -> float:
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in tree(root))
    found = (re.search(rf"{field}:\s+(\d+) kB", status) for status in statuses)
    return sum(int(one[1]) for one in found if one) / 1024


def _fields(stat: Path) -> list[str]:
    """The fields behind the command's name, which may hold blanks and brackets; the first is the state."""
    return stat.read_text().rpartition(")")[2].split()
