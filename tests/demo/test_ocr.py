import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

pytestmark = [pytest.mark.ocr, pytest.mark.timeout(300)]


def drawn(*lines: str) -> bytes:
    """Return a PNG with the lines in black print on white."""
    pillow = pytest.importorskip("PIL.Image")
    from PIL import ImageDraw, ImageFont

    image = pillow.new("RGB", (640, 40 + 70 * len(lines)), "white")
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((30, 20 + 70 * number), line, fill="black", font=ImageFont.load_default(48))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    argv = [sys.executable, "-m", "ocr_tcp_lb.demo.worker", "--port", "0", "--path", "/x", "--until-stdin-ends"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["recognizer"] == "rapidocr", ready["note"]
        yield f"http://127.0.0.1:{ready['port']}/x"
        process.stdin.close()


def post(url: str, image: bytes) -> dict[str, object]:
    with urllib.request.urlopen(url, data=image, timeout=120) as reply:
        return dict(json.load(reply))


def characters(text: object) -> str:
    """Return the text without blanks: at some font sizes the model loses one, or cuts a line in two there."""
    return "".join(str(text).split())


def test_printed_text_is_returned(url: str) -> None:
    answer = post(url, drawn("INVOICE 2043", "Total 118.40"))
    text, lines = answer["text"], answer["lines"]
    assert isinstance(text, str)
    assert isinstance(lines, list)
    assert characters(text) == "INVOICE2043Total118.40"
    assert text == "\n".join(line["text"] for line in lines)
    assert all(line["score"] > 0.8 and len(line["box"]) == 4 for line in lines)


def test_blank_page_has_no_text(url: str) -> None:
    answer = post(url, drawn())
    assert (answer["text"], answer["lines"]) == ("", [])


def test_bytes_that_are_no_image_are_refused_and_the_worker_lives(url: str) -> None:
    for body in (b"no image", b"\x89PNG\r\n\x1a\n broken"):
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            post(url, body)
        caught.value.close()
    assert characters(post(url, drawn("INVOICE 7"))["text"]) == "INVOICE7"
