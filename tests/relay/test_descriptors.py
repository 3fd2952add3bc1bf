"""The limit of open files is raised to what clients need, where that is allowed."""

import resource

import pytest

from ocr_tcp_lb.relay.descriptors import SPARE, allow_descriptors

NEEDED = 2 * 4096 + SPARE
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("had", "has", "warns"),
    [
        ((1024, 1_000_000), (NEEDED, 1_000_000), False),
        ((1024, UNLIMITED), (NEEDED, UNLIMITED), False),
        ((1024, 4096), (4096, 4096), True),
        ((4096, 4096), (4096, 4096), True),
        ((100_000, 1_000_000), (100_000, 1_000_000), False),
        ((UNLIMITED, UNLIMITED), (UNLIMITED, UNLIMITED), False),
    ],
)
def test_soft_limit_is_raised_as_far_as_needed_and_allowed(
    had: tuple[int, int], has: tuple[int, int], warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [had]
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda what, wanted: limits.append(wanted))
    warning = allow_descriptors(4096)
    assert limits[-1] == has
    assert (warning is not None) == warns
    if warning is not None:
        assert f"{NEEDED} open files" in warning
        assert "4096:" in warning
