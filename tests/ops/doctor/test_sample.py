"""How an image of the operator's is sent, and what is made of how many at once a service works on."""

import math

import pytest

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.ops.doctor import concurrency
from ocr_tcp_lb.ops.doctor.sample import Sample
from ocr_tcp_lb.settings.configfile import render_backends
from tests.ops.doctor.house import SAMPLE, Asked, Reply, look, only, service, visit


async def test_sample_is_sent_as_the_service_takes_it_and_its_slots_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> Reply:
        seen.append(asked)
        return (200 if asked.method == "GET" or asked.kind.startswith("multipart/") else 400, {})

    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        came = await burst(2, 3)
        assert (len(came.ended_s), came.failed) == (3, 0)
        assert list(came.ended_s) == sorted(came.ended_s)
        return concurrency.Measured(3, 3)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(answer) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert any("takes an image as the form's 'file'" in line for line in found.good)
    assert [asked.method for asked in seen[-3:]] == ["POST"] * 3
    assert "concurrency = 3" in render_backends([found.proposal])


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (concurrency.Measured(1, 3), "works on 1 to 3 at once: not clear, so it is left to be learned"),
        (concurrency.Measured(2, math.inf), "works on 2 or more at once: not clear, so it is left to be learned"),
        (concurrency.Measured(0, 0, 1), "the sample failed when it was sent again, so its concurrency was not "
         "measured; see its log"),
    ],
)  # fmt: skip
async def test_concurrency_that_is_not_clear_is_left_out(
    monkeypatch: pytest.MonkeyPatch, measured: concurrency.Measured, said: str
) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return measured

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.notes[-1] == said
    assert "concurrency" not in render_backends([found.proposal])


async def test_refusal_of_too_many_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return concurrency.Measured(2, 2, 3)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.notes[-1] == "of 3 at once, some failed; see its log if it should take as many"
    assert "concurrency = 2" in render_backends([found.proposal])


@pytest.mark.parametrize(
    ("measured", "shown", "is_noted"),
    [
        (concurrency.Measured(4, 4), 4, False),
        (concurrency.Measured(2, 2), 2, True),
        (concurrency.Measured(2, math.inf), 4, False),
    ],
)
async def test_what_was_told_stands_unless_it_was_measured_otherwise(
    monkeypatch: pytest.MonkeyPatch, measured: concurrency.Measured, shown: int, is_noted: bool
) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return measured

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        told = BackendConfig("gpu", "127.0.0.1", port, "/ocr", weight=2.0, concurrency=4)
        found = await look(told, SAMPLE)
    assert found.proposal == BackendConfig("gpu", "127.0.0.1", port, "/ocr", weight=2.0, concurrency=shown)
    assert ("its concurrency is told to be 4; below stands what was measured" in found.notes) == is_noted


async def test_burst_ends_with_its_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    posts = 0

    def answer(asked: Asked) -> Reply:
        nonlocal posts
        posts += asked.method == "POST"
        return (503 if posts == 4 else 200, {})

    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        came = await burst(1, 9)
        assert (len(came.ended_s), came.failed) == (2, 1)
        return concurrency.Measured(0, 0, 1)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(answer) as port:
        await visit(port, "/ocr", SAMPLE)
    assert posts == 4  # the first one found out how it is sent


async def test_sample_that_nobody_takes_is_noted() -> None:
    async with service(lambda asked: (200 if asked.method == "GET" else 415, {})) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert "the sample was not taken (415 as the body" in found.notes[-1]
    assert found.concurrency == 0


def test_form_is_what_browsers_send() -> None:
    fields, body = SAMPLE.forms()["as the form's 'file'"]
    assert fields["Content-Type"] == "multipart/form-data; boundary=ocr-tcp-lb-doctor"
    assert body.startswith(
        b'--ocr-tcp-lb-doctor\r\nContent-Disposition: form-data; name="file"; filename="scan.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNG"
    )
    assert body.endswith(b"\r\n--ocr-tcp-lb-doctor--\r\n")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("it's.png", b"it's.png"),
        ('a"b.png', b"a%22b.png"),
        ("a\r\nb.png", b"a%0D%0Ab.png"),
        ("\u00fc.png", b"\xc3\xbc.png"),
        ("\udcff.png", b"\xff.png"),  # a file's name that is no UTF-8, as Python has it
    ],
)
def test_name_of_a_file_breaks_no_form(name: str, written: bytes) -> None:
    _, body = Sample(name, b"x").forms()["as the form's 'image'"]
    line = body.split(b"\r\n")[1]
    assert line == b'Content-Disposition: form-data; name="image"; filename="%b"' % written


async def test_way_that_is_answered_with_a_closed_connection_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return concurrency.Measured(1, 1)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(lambda asked: None if asked.kind == "image/png" else (200, {})) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.bad == []
    assert any("takes an image as the form's 'file'" in line for line in found.good)


async def test_sample_that_always_breaks_the_connection_is_a_problem() -> None:
    async with service(lambda asked: (200, {}) if asked.method == "GET" else None) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.bad == ["it answered at first, and then: it closed the connection without an answer"]
