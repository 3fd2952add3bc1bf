"""aiohttp and curl through the balancer to each kind of service, on both loops."""

import asyncio
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

BODY_20_MB = random.Random(21).randbytes(20_000_000)
PARALLEL = 50


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_aiohttp_session_with_50_requests_at_once(front: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=PARALLEL)) as session:

        async def ask(number: int) -> dict[str, object]:
            async with session.post(f"{front}/get_ocr?page={number}", json={"page": number}) as reply:
                assert reply.status == 200
                answer: dict[str, object] = await reply.json()
                return answer

        answers = await asyncio.gather(*(ask(number) for number in range(PARALLEL)))
    assert [answer["target"] for answer in answers] == [f"/get_ocr?page={number}" for number in range(PARALLEL)]


async def test_aiohttp_chunked_upload_of_20_mb_returns_byte_for_byte(front: str) -> None:
    async def generate() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY_20_MB), 1_000_000):
            yield BODY_20_MB[start : start + 1_000_000]

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{front}/get_ocr", data=generate(), headers={"Echo": "1"}) as reply,
    ):
        assert reply.status == 200
        assert sha256(await reply.read()) == sha256(BODY_20_MB)


def curl(*arguments: str) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", *arguments], check=True, capture_output=True
    ).stdout


def test_curl_form_upload(front: str, kind: str, tmp_path: Path) -> None:
    image = tmp_path / "scan.png"
    image.write_bytes(random.Random(3).randbytes(50_000))
    answer = json.loads(curl("--form", f"file=@{image}", f"{front}/get_ocr"))
    if kind == "uvicorn":  # bare ASGI: the whole form as it came
        assert answer["bytes"] > 50_000
    else:
        assert answer["files"] == {"file": sha256(image.read_bytes())}


def test_curl_that_expects_continue_uploads_20_mb(front: str, tmp_path: Path) -> None:
    image = tmp_path / "large.tif"
    image.write_bytes(BODY_20_MB)
    returned = curl("--data-binary", f"@{image}", "-H", "Expect: 100-continue", "-H", "Echo: 1", f"{front}/get_ocr")
    assert sha256(returned) == sha256(BODY_20_MB)


def test_curl_of_http_1_0_gets_its_answer(front: str) -> None:
    answer = json.loads(curl("--http1.0", "--data", "old", f"{front}/"))
    assert answer["sha256"] == sha256(b"old")


def test_wrong_path_is_passed_on_and_the_404_returned(front: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    out = subprocess.run(["curl", "-s", "-w", "%{http_code}", f"{front}/elsewhere"], check=True, capture_output=True)
    assert out.stdout.endswith(b"404")
