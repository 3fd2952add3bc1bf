"""Only for those who want the balancer compiled: `OCR_TCP_LB_COMPILE=1 pip install .` (needs a C compiler).

mypyc translates the rooms through which every request passes from the same source to C, which halves the user time of
a small request. Without the variable nothing is compiled, and `pyproject.toml` says all there is. The coroutines of the
general lane, which wait more than they compute, stay interpreted.
"""

import os
import sys
from glob import glob

from setuptools import setup

COMPILED = [
    *sorted(glob("ocr_tcp_lb/wire/*.py")),
    *sorted(glob("ocr_tcp_lb/balance/*.py")),
    *(
        f"ocr_tcp_lb/relay/{name}.py"
        for name in (
            "buffers",
            "claim",
            "client",
            "deadlines",
            "express",
            "failures",
            "hub",
            "readiness",
            "record",
            "request",
            "session",
            "splice",
            "upstream",
        )
    ),
]


def wants_compiling() -> bool:
    """Whether the variable says so."""
    return os.environ.get("OCR_TCP_LB_COMPILE", "") == "1"


def extensions() -> list[object]:
    """The modules as C extensions; none on pip's first look, which asks what building needs."""
    if not wants_compiling() or "egg_info" in sys.argv:
        return []
    from mypyc.build import mypycify

    modules: list[object] = mypycify([*COMPILED], opt_level="3", multi_file=True)
    return modules


setup(setup_requires=["h11>=0.16,<0.17", "mypy>=1.18"] if wants_compiling() else [], ext_modules=extensions())
