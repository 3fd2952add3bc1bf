import pytest

from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.targets import check_method, is_host, origin_form, resolve, split_query


@pytest.mark.parametrize(
    "host", [b"a", b"a.b:80", b"1.2.3.4", b"[::1]", b"[::1]:4999", b"under_score", b"a:", b"xn--a", b"%41"]
)
def test_hosts_that_are_valid(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b"a b",
        b"a,b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"user@a",
        b"a:b",
        b"a:123456",
        b"[::1",
        b"::1",
        b"a\\b",
        b"\xe9",
        b"a" * 256,
        b"[zz]",
        b"a:80:80",
        b"http://a",
        b"<a>",
        b":80",
    ],
)
def test_hosts_that_are_invalid(host: bytes) -> None:
    assert not is_host(host)


def test_origin_form_is_a_path_of_visible_ascii() -> None:
    assert origin_form(b"/")
    assert origin_form(b"//evil/%zz?a?b")
    assert not any(map(origin_form, [b"", b"a", b"*", b"/ ", b"/#", b"/\x7f", b"/\x80", b"/\n"]))


@pytest.mark.parametrize(
    ("method", "target", "resolved"),
    [
        (b"GET", b"http://a/x?y", (b"/x", b"?y", b"a")),
        (b"GET", b"HTTP://A", (b"/", b"", b"A")),
        (b"GET", b"http://a?q", (b"/", b"?q", b"a")),
        (b"OPTIONS", b"http://a", (b"*", b"", b"a")),
        (b"OPTIONS", b"*", (b"*", b"", b"a")),
    ],
)
def test_other_forms_resolve_to_origin_form(method: bytes, target: bytes, resolved: tuple[bytes, ...]) -> None:
    assert resolve(method, target, b"a") == resolved


def test_an_authority_stands_in_for_a_missing_host() -> None:
    assert resolve(b"GET", b"http://b:81/", b"") == (b"/", b"", b"b:81")


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"**",
        b"a:80",
        b"a",
        b"?x",
        b"http:/a",
        b"http:///x",
        b"http://b/",
        b"http://a:80/",
        b"http://u@a/",
        b"https://a/",
        b"ftp://a/",
        b"http://a@b/",
        b"http://a\\b/",
    ],
)
def test_targets_that_name_nothing_here_are_refused(target: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        resolve(b"GET", target, b"a")
    assert caught.value.status == 400


def test_connect_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        check_method(b"CONNECT")
    assert caught.value.status == 405
    check_method(b"GET")


def test_the_query_keeps_its_question_mark() -> None:
    assert split_query(b"/a?") == (b"/a", b"?")
    assert split_query(b"/a?b?c") == (b"/a", b"?b?c")
    assert split_query(b"/a") == (b"/a", b"")
