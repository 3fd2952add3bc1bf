"""Who may ask: names, tokens and origins, one question after the other."""

import base64
from pathlib import Path

import pytest

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.ops.admin.gate import AdminError, Gate, read_token
from ocr_tcp_lb.ops.admin.http import Request

LOCAL = TcpAddress("127.0.0.1", 4998)
TOKEN = "0123456789abcdef"


def verdict(gate: Gate, method: str = "GET", path: str = "/", host: str = "127.0.0.1:4998", **fields: str) -> int:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    reply = gate.refusal(Request(method, path, fields={"host": host, **named}))
    return 200 if reply is None else reply.status


@pytest.mark.parametrize("host", ["127.0.0.1:4998", "localhost", "LOCALHOST:1", "[::1]:4998", "10.1.2.3"])
def test_addresses_and_localhost_are_our_names(host: str) -> None:
    assert verdict(Gate(LOCAL), host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:4998", "localhost.evil", "", "[::1", "a b"])
def test_other_names_are_refused_since_dns_may_point_them_here(host: str) -> None:
    assert verdict(Gate(LOCAL), host=host) in ({200, 421} if host == "[::1" else {421})
    assert verdict(Gate(LOCAL), "POST", "/control/backends/b1/drain", host=host, origin=f"http://{host}") in (
        {200, 421} if host == "[::1" else {421}
    )


def test_configured_name_is_ours() -> None:
    assert verdict(Gate(TcpAddress("lb.internal", 4998), TOKEN), host="lb.internal:4998", authorization="") == 401
    assert verdict(Gate(TcpAddress("lb.internal", 4998)), host="lb.internal:4998") == 200


def test_unix_socket_does_not_ask_for_names() -> None:
    address: Address = UnixAddress("/run/x.sock")
    assert verdict(Gate(address), host="anything") == 200


@pytest.mark.parametrize(
    "said",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:5000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:4998"},
        {"sec_fetch_site": "none"},
    ],
)
def test_page_of_another_site_controls_nothing(said: dict[str, str]) -> None:
    assert verdict(Gate(LOCAL), "POST", "/control/backends/b1/drain", **said) == 403


@pytest.mark.parametrize(
    "said",
    [{}, {"origin": "http://127.0.0.1:4998", "sec_fetch_site": "same-origin"}, {"sec_fetch_site": "same-origin"}],
)
def test_own_page_and_programs_control(said: dict[str, str]) -> None:
    assert verdict(Gate(LOCAL), "POST", "/control/backends/b1/drain", **said) == 200


def test_link_on_another_site_may_lead_to_the_page() -> None:
    assert verdict(Gate(LOCAL), sec_fetch_site="cross-site") == 200


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("said", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN)])
def test_token_opens_under_any_name(said: str) -> None:
    assert verdict(Gate(LOCAL, TOKEN), host="lb.example", authorization=said) == 200


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Token {TOKEN}",
        basic("wrong"),
        "Basic !",
        "Basic /w==",
        "Basic \xff\xff",
        "Bearer \xff",
    ],
)
def test_without_the_token_nothing_is_shown(said: str) -> None:
    gate = Gate(LOCAL, TOKEN)
    assert verdict(gate, authorization=said) == 401
    assert verdict(gate, path="/healthz", authorization=said) == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_checks_need_no_host(path: str) -> None:
    assert Gate(LOCAL).refusal(Request("GET", path)) is None
    assert verdict(Gate(LOCAL), path=path, host="lb.example") == 200


def test_refusal_tells_a_browser_to_ask_for_the_token() -> None:
    reply = Gate(LOCAL, TOKEN).refusal(Request("GET", "/"))
    assert reply is not None
    assert reply.fields["Www-Authenticate"].startswith("Basic realm=")


def test_token_does_not_excuse_another_site() -> None:
    said = {"authorization": basic(TOKEN), "origin": "http://evil.example"}
    assert verdict(Gate(LOCAL, TOKEN), "POST", "/control/backends/b1/drain", **said) == 403


def test_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert read_token(str(file)) == TOKEN


@pytest.mark.parametrize(("text", "mode", "said"), [("short", 0o600, "under 16"), (TOKEN, 0o604, "chmod o=")])
def test_token_that_keeps_nobody_out_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(AdminError, match=said):
        read_token(str(file))


@pytest.mark.parametrize("text", ["geheim-schlüssel-123456", f"{TOKEN}\n{TOKEN}", f"{TOKEN} {TOKEN}", f"{TOKEN}\x7f"])
def test_token_that_no_client_can_send_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(AdminError, match="no client can send the token"):
        read_token(str(file))


def test_missing_token_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="cannot read"):
        read_token(str(tmp_path / "none"))
