"""Which proxies are believed: `10.0.0.0/8,2001:db8::/32,unix`, or `none`.

Reads the text an operator wrote into `TrustedProxies`, or raises `BadValue` that tells every wrong part of it.
"""

import ipaddress

from ocr_tcp_lb.config import UNIX_CLIENT, Network, TrustedProxies
from ocr_tcp_lb.settings.faults import BadValue
from ocr_tcp_lb.settings.values import Kind

_NOBODY = "none"  # on the command line, against a file that trusts somebody


def parse_trusted_proxies(text: str) -> TrustedProxies:
    """Read networks and `unix`, separated by commas, or the word `none`."""
    if text.strip() == _NOBODY:
        return TrustedProxies()
    trusted = TrustedProxies()
    refusals: list[BadValue] = []
    for part in text.split(","):
        try:
            trusted |= _one(part.strip())
        except BadValue as bad:
            refusals.append(bad)
    if refusals:
        *others, last = refusals
        raise BadValue("; ".join([*(f"{bad.wrong}; {bad.right}" for bad in others), last.wrong]), last.right)
    return trusted


def _one(text: str) -> TrustedProxies:
    return TrustedProxies(unix=True) if text == UNIX_CLIENT else TrustedProxies((_network(text),))


def _network(text: str) -> Network:
    """Read one network; an address alone is the network of that one address."""
    try:
        interface = ipaddress.ip_interface(text)
        if "%" in text:  # RFC 4007, 11
            raise ValueError("which link a client is on is not asked")
    except ValueError as error:
        right = "write it as in 10.0.0.0/8 or 2001:db8::/32, or unix"
        raise BadValue(f"{text!r} is not a network", right) from error
    if interface.ip != interface.network.network_address:
        raise BadValue(f"{text} has bits set beyond its mask", f"did you mean {interface.network} ?")
    return interface.network


def _show(trusted: TrustedProxies) -> str:
    shown = [*map(str, trusted.networks), *([UNIX_CLIENT] if trusted.unix else [])]
    return ",".join(shown) or _NOBODY


TRUSTED_PROXIES = Kind("CIDR[,CIDR...]", parse_trusted_proxies, _show)
