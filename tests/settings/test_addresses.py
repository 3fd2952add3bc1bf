from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.settings.addresses import BackendUrl, parse_backend_url, parse_listen
from ocr_tcp_lb.settings.faults import BadValue


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":4999", TcpAddress("", 4999)),
        ("127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[::]:0", TcpAddress("::", 0)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("localhost:80", TcpAddress("localhost", 80)),
        ("gpu_box-1.example.:80", TcpAddress("gpu_box-1.example.", 80)),
        ("unix:/run/lb.sock", UnixAddress("/run/lb.sock")),
    ],
)
def test_listening_addresses_are_read_and_shown_alike(text: str, address: Address) -> None:
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("4999", "did you mean :4999 ?"),
        ("localhost", "did you mean localhost:4999 ?"),
        ("[::1]", "did you mean [::1]:4999 ?"),
        ("::1", "did you mean [::1]:PORT ?"),
        ("::1:4999", "did you mean [::1]:4999 ?"),
        ("2001:db8::1:4999", "did you mean [2001:db8::1]:4999 ?"),
        ("2001:db8::1:25", "did you mean [2001:db8::1:25]:PORT ?"),
        ("a:b:80", "write HOST:PORT or [IPV6]:PORT"),
        ("::1:49990", "did you mean [::1]:49990 ?"),
        ("http://:4999", "write [HOST]:PORT, or unix:PATH"),
        ("[1.2.3.4]:80", "write it as in [::1]:PORT"),
        ("*:80", "leave the host out to mean every address, as in :4999"),
        ("999.1.1.1:80", "write four numbers from 0 to 255"),
        ("a b:80", "write a host name or an IP address"),
        (":65536", "write a number from 1 to 65535 after the last colon"),
        (":-1", "write a number from 1 to 65535 after the last colon"),
        (":", "write a number from 1 to 65535 after the last colon"),
        ("", "did you mean :4999 ?"),
        ("unix:", "write it as in unix:/run/ocr-tcp-lb.sock"),
        ("unix:/a\nb", "write it as in unix:/run/ocr-tcp-lb.sock"),
        ("unix:/" + "a" * 107, "the system allows 107"),
    ],
)
def test_what_is_no_address_is_answered_with_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_listen(text)
    assert caught.value.right == advice


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://127.0.0.1:5000/get_ocr_api", BackendUrl("127.0.0.1", 5000, "/get_ocr_api")),
        ("http://gpu-1:5000", BackendUrl("gpu-1", 5000, "/")),
        ("http://gpu-1/", BackendUrl("gpu-1", 80, "/")),
        ("HTTP://[::1]:5000/a%20b/c;d", BackendUrl("::1", 5000, "/a%20b/c;d")),
        ("http://GPU-1/Ocr", BackendUrl("gpu-1", 80, "/Ocr")),
    ],
)
def test_backend_urls_are_read(text: str, parts: BackendUrl) -> None:
    assert parse_backend_url(text) == parts


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("127.0.0.1:5000/x", "did you mean http://127.0.0.1:5000/x ?"),
        ("localhost", "did you mean http://localhost ?"),
        (":5000/get_ocr", "did you mean http://127.0.0.1:5000/get_ocr ?"),
        ("http:/127.0.0.1:5000/x", "did you mean http://127.0.0.1:5000/x ?"),
        ("http//127.0.0.1:5000/x", "did you mean http://127.0.0.1:5000/x ?"),
        ("http:/:5000", "did you mean http://127.0.0.1:5000 ?"),
        ("https:/a/x", "write http://HOST:PORT/PATH"),
        ("a b", "write http://HOST:PORT/PATH"),
        ("", "write http://HOST:PORT/PATH"),
        ("://x", "write http://HOST:PORT/PATH"),
        (" http://a", "write http://HOST:PORT/PATH"),
        ("ftp://a/", "only http:// is spoken to backends"),
        ("http://a/x?y=1", "write http://a/x: each request brings its own query"),
        ("http://a/x#y", "write http://a/x: each request brings its own query"),
        ("http://me:pw@a/", "clients send their own Authorization field"),
        ("http:///x", "write http://HOST:PORT/PATH"),
        ("http://:80/x", "write http://HOST:PORT/PATH"),
        ("http://a:0/x", "write the port that the backend listens on"),
        ("http://a:99999/x", "write a number from 1 to 65535 after the last colon"),
        ("http://a/b c", "did you mean /b%20c ?"),
        ("http://a/b concurrency=2 weight=3", "keys of a backend follow behind commas: /b,concurrency=2,weight=3"),
        ("http://a/é", "did you mean /%C3%A9 ?"),
        ("http://a/%zz", "write % only before two hex digits"),
        ("http://a/b\r\nHost: c", "did you mean /b%0D%0AHost:%20c ?"),
    ],
)
def test_what_is_no_backend_url_is_answered_with_what_would_be_right(text: str, advice: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_backend_url(text)
    assert caught.value.right == advice


@given(st.text(max_size=30) | st.text("[]:/.%?#@ahtp019 ", max_size=20))
def test_guess_is_never_refused_in_turn(text: str) -> None:
    refusal = refusal_of(parse_backend_url, text)
    if refusal and refusal.right.startswith("did you mean http"):
        parse_backend_url(refusal.right.removeprefix("did you mean ").removesuffix(" ?"))


def test_https_is_answered_with_two_ways_out() -> None:
    with pytest.raises(BadValue, match="TLS") as caught:
        parse_backend_url("https://a:5000/x")
    assert "write http://a:5000/x, or put a TLS client" in caught.value.right


def refusal_of(parse: Callable[[str], object], text: str) -> BadValue | None:
    try:
        parse(text)
    except BadValue as bad:
        return bad
    return None


@given(st.text(max_size=30) | st.text("[]:/.%?#@ahtp019 ", max_size=20))
def test_any_text_is_read_or_refused_with_advice(text: str) -> None:
    for parse in (parse_listen, parse_backend_url, lambda rest: parse_backend_url("http://" + rest)):
        refusal = refusal_of(parse, text)
        assert refusal is None or (refusal.wrong and refusal.right)
