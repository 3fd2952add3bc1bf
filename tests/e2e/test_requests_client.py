"""`requests`, the client of most users, through the balancer to each kind of service, on both loops."""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests

PARALLEL = 50
BODY_20_MB = random.Random(20).randbytes(20_000_000)  # larger than the request buffer, so it is streamed


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_json_body_arrives_and_its_answer_returns(front: str) -> None:
    reply = requests.post(f"{front}/get_ocr", json={"image": "aGVsbG8=", "language": "deu"}, timeout=10)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "application/json"
    answer = reply.json()
    assert answer["sha256"] == sha256(reply.request.body)
    assert answer["forwarded_for"] == "127.0.0.1"


def test_multipart_upload_keeps_the_file(front: str, kind: str) -> None:
    image = random.Random(1).randbytes(300_000)
    reply = requests.post(
        f"{front}/get_ocr", files={"file": ("scan.png", image, "image/png")}, data={"dpi": "300"}, timeout=10
    )
    answer = reply.json()
    if kind == "uvicorn":  # bare ASGI: the body as it came
        assert answer["sha256"] == sha256(reply.request.body)
    else:
        assert answer["files"] == {"file": sha256(image)}


def test_20_mb_arrive_byte_for_byte_in_both_directions(front: str) -> None:
    reply = requests.post(f"{front}/get_ocr", data=BODY_20_MB, headers={"Echo": "1"}, timeout=30)
    assert reply.status_code == 200
    assert sha256(reply.content) == sha256(BODY_20_MB)


def test_chunked_body_arrives_byte_for_byte(front: str) -> None:
    rng = random.Random(2)
    pieces = [rng.randbytes(rng.choice([1, 700, 65_536, 100_001])) for _ in range(40)]

    def generate() -> Iterator[bytes]:
        yield from pieces

    answer = requests.post(f"{front}/get_ocr", data=generate(), timeout=10).json()
    assert answer["sha256"] == sha256(b"".join(pieces))


def test_session_keeps_its_connection_and_its_order(front: str) -> None:
    with requests.Session() as session:
        for number in range(30):
            body = b"page %d" % number
            answer = session.post(f"{front}/get_ocr?page={number}", data=body, timeout=10).json()
            assert (answer["target"], answer["sha256"]) == (f"/get_ocr?page={number}", sha256(body))
        pools = session.get_adapter(front).poolmanager.pools  # type: ignore[attr-defined]
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 (not a dict)


def test_50_parallel_uploads_each_get_their_own_answer(front: str) -> None:
    def upload(number: int) -> bool:
        body = random.Random(number).randbytes(100_000)
        answer = requests.post(f"{front}/get_ocr", data=body, timeout=30).json()
        return bool(answer["sha256"] == sha256(body))

    with ThreadPoolExecutor(PARALLEL) as pool:
        assert all(pool.map(upload, range(PARALLEL)))
