from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.config import TrustedProxies
from ocr_tcp_lb.settings.faults import BadValue
from ocr_tcp_lb.settings.proxies import TRUSTED_PROXIES, parse_trusted_proxies


def test_networks_addresses_and_unix_sockets_are_read() -> None:
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.7/32"))
    assert parse_trusted_proxies("10.0.0.0/8, 2001:DB8::/32,192.0.2.7,unix") == TrustedProxies(networks, unix=True)


def test_none_trusts_nobody() -> None:
    assert parse_trusted_proxies("none") == TrustedProxies()


def test_network_named_twice_counts_once() -> None:
    assert parse_trusted_proxies("::1,::1/128").networks == (ip_network("::1"),)


@pytest.mark.parametrize("text", ["", "10.0.0.0/8,", "x", "10.0.0.0/33", "10.0.0/8", "fe80::1%eth0", "none,::1", "*"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_trusted_proxies(text)
    assert caught.value.wrong.endswith("is not a network")
    assert caught.value.right == "write it as in 10.0.0.0/8 or 2001:db8::/32, or unix"


def test_address_with_a_mask_is_answered_with_its_network() -> None:
    with pytest.raises(BadValue) as caught:
        parse_trusted_proxies("10.1.2.3/8")
    assert caught.value.at("x").right == "did you mean 10.0.0.0/8 ?"


def test_every_wrong_part_is_told() -> None:
    with pytest.raises(BadValue) as caught:
        parse_trusted_proxies("::1/64,10.0.0.0/8,proxy.example")
    assert str(caught.value.at("--trusted-proxies")) == (
        "--trusted-proxies: ::1/64 has bits set beyond its mask; did you mean ::/64 ?; "
        "'proxy.example' is not a network; write it as in 10.0.0.0/8 or 2001:db8::/32, or unix"
    )


NETWORKS = st.builds(
    lambda address, bits: ip_network((address, bits % (address.max_prefixlen + 1)), strict=False),
    st.ip_addresses(),
    st.integers(0, 128),
)


@given(networks=st.lists(NETWORKS, unique=True, max_size=4), unix=st.booleans())
def test_shown_proxies_read_back(networks: list[object], unix: bool) -> None:
    trusted = TrustedProxies(tuple(networks), unix)  # type: ignore[arg-type]
    assert TRUSTED_PROXIES.parse(str(TRUSTED_PROXIES.show(trusted))) == trusted
