"""Only for those who want the balancer compiled: `OCR_TCP_LB_COMPILE=1 pip install .` (needs a C compiler).

mypyc translates what every request passes through from the same source to C, which halves the user time of a small
request (10.5 us to 5). Without the variable nothing is compiled, and `pyproject.toml` says all there is. Compiled are
the pure rooms, and those parts of the relay and of the counting that never wait; coroutines stay interpreted, because
mypyc 2.4 gets some of them wrong (`tests/test_compiled.py` sees to that). What every request meets spares mypyc
look-ups by name: its constants are `Final`, and where there is a choice of classes they share a base, not a protocol (5
%).
"""

import os
import sys
import tomllib
from glob import glob
from pathlib import Path

from setuptools import setup

PATTERNS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["ocr_tcp_lb"]["compiled"]


def wants_compiling() -> bool:
    """Whether the variable says so."""
    return os.environ.get("OCR_TCP_LB_COMPILE", "") == "1"


def extensions() -> list[object]:
    """The modules as C extensions; none on pip's first look, which asks what building needs."""
    if not wants_compiling() or "egg_info" in sys.argv:
        return []
    from mypyc.build import mypycify

    modules: list[object] = mypycify(
        [name for pattern in PATTERNS for name in sorted(glob(pattern))], opt_level="3", multi_file=True
    )
    return modules


setup(setup_requires=["h11>=0.16,<0.17", "mypy>=1.18"] if wants_compiling() else [], ext_modules=extensions())
