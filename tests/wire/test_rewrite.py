import pytest

from ocr_tcp_lb.wire import RequestParser, Router

from .samples import request


@pytest.mark.parametrize(
    ("target", "rewritten"),
    [
        (b"/", b"/get_ocr"),
        (b"/get_ocr_api", b"/get_ocr"),
        (b"/get_ocr_api?a=%2F&b=a+b?c", b"/get_ocr?a=%2F&b=a+b?c"),
        (b"/?", b"/get_ocr?"),
        (b"/get_ocr_api/", b"/get_ocr_api/"),
        (b"/get%5Focr?x", b"/get%5Focr?x"),
        (b"//get_ocr", b"//get_ocr"),
        (b"/health", b"/health"),
        (b"http://a/get_ocr_api?x", b"/get_ocr?x"),
        (b"http://a/other?x", b"/other?x"),
        (b"http://a", b"/get_ocr"),
    ],
)
def test_only_names_of_the_service_are_rewritten(target: bytes, rewritten: bytes) -> None:
    router = Router([b"/get_ocr", b"/get_ocr_api"])
    head = RequestParser().parse(request(start=b"GET " + target + b" HTTP/1.1"))
    assert router.rewritten(head, b"/get_ocr") == rewritten


def test_the_server_itself_is_no_service() -> None:
    head = RequestParser().parse(request(start=b"OPTIONS * HTTP/1.1"))
    router = Router([b"/x"])
    assert router.rewritten(head, b"/x") == b"*"


def test_a_router_prints_its_names() -> None:
    assert repr(Router([b"/x"])) == "<Router / /x>"
