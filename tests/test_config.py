from ipaddress import ip_network

import pytest

from ocr_tcp_lb.config import BackendConfig, TcpAddress, TrustedProxies, UnixAddress, plain_address

TRUSTED = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("fe80::1%eth0", False),
        ("unix", False),
    ],
)
def test_proxies_are_trusted_by_network_however_often_they_ask(address: str, trusted: bool) -> None:
    assert [TRUSTED.trusts(address), TRUSTED.trusts(address)] == [trusted, trusted]


@pytest.mark.parametrize(
    ("shown", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("::ffff:0:1", "::ffff:0:1")],
)
def test_ipv4_client_of_an_ipv6_socket_has_its_own_address(shown: str, plain: str) -> None:
    assert plain_address(shown) == plain


def test_link_local_proxy_is_trusted_whatever_its_zone() -> None:
    assert TrustedProxies((ip_network("fe80::/10"),)).trusts("fe80::1%eth0")


def test_unix_sockets_are_trusted_only_by_name() -> None:
    assert TrustedProxies(unix=True).trusts("unix")
    assert not TrustedProxies(unix=True).trusts("127.0.0.1")
    assert not TrustedProxies((ip_network("0.0.0.0/0"), ip_network("::/0"))).trusts("unix")


def test_nobody_is_trusted_by_default() -> None:
    assert not TrustedProxies()
    assert not TrustedProxies().trusts("127.0.0.1")


def test_many_addresses_are_judged_right_and_do_not_pile_up() -> None:
    trusted = TrustedProxies((ip_network("10.0.0.0/24"),))
    for number in range(10_000):
        assert trusted.trusts(f"10.0.{number // 256}.{number % 256}") == (number < 256)
    assert len(trusted._known) <= 4096


def test_what_was_asked_does_not_change_what_is_equal() -> None:
    asked = TrustedProxies(TRUSTED.networks)
    asked.trusts("10.1.2.3")
    assert asked == TrustedProxies(TRUSTED.networks)
    assert hash(asked) == hash(TRUSTED)


def test_sums_of_trust_keep_each_network_once() -> None:
    both = TRUSTED | TrustedProxies(TRUSTED.networks[:1], unix=True)
    assert both == TrustedProxies(TRUSTED.networks, unix=True)


def test_addresses_are_shown_as_an_operator_writes_them() -> None:
    assert [str(TcpAddress("::1", 80)), str(TcpAddress("", 80)), str(UnixAddress("/x"))] == [
        "[::1]:80",
        ":80",
        "unix:/x",
    ]
    assert BackendConfig("b", "::1", 80, "/x").url == "http://[::1]:80/x"
