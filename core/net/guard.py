"""Which addresses may be dialled: only those that the whole Internet can reach, and ranges the operator named.

Deny by default. The tables follow the IANA special-purpose registries (RFC 6890) of 2026-07; `ipaddress.is_global` is not
used, since it calls multicast, NAT64 and 6to4 forms of private addresses global. An IPv6 address that carries an IPv4
address inside must pass for both: 10.0.0.0/8 behind somebody's translator is not the 10.0.0.0/8 that the operator named.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# (range, globally reachable, what it is). The longest matching range decides.
_SPECIAL: Final[tuple[tuple[str, bool, str], ...]] = (
    ("0.0.0.0/0", True, "an ordinary address"),
    ("0.0.0.0/8", False, "an address of “this network”"),
    ("10.0.0.0/8", False, "a private address"),
    ("100.64.0.0/10", False, "an address shared by a provider's customers"),
    ("127.0.0.0/8", False, "a loopback address"),
    ("169.254.0.0/16", False, "a link-local address"),
    ("172.16.0.0/12", False, "a private address"),
    ("192.0.0.0/24", False, "an address for protocol assignments"),
    ("192.0.0.9/32", True, "Port Control Protocol anycast"),
    ("192.0.0.10/32", True, "TURN anycast"),
    ("192.0.2.0/24", False, "a documentation address"),
    ("192.31.196.0/24", True, "AS112"),
    ("192.52.193.0/24", True, "AMT"),
    ("192.88.99.0/24", False, "a deprecated 6to4 relay address"),
    ("192.168.0.0/16", False, "a private address"),
    ("192.175.48.0/24", True, "AS112"),
    ("198.18.0.0/15", False, "a benchmarking address"),
    ("198.51.100.0/24", False, "a documentation address"),
    ("203.0.113.0/24", False, "a documentation address"),
    ("224.0.0.0/4", False, "a multicast address"),
    ("240.0.0.0/4", False, "a reserved address"),
    ("255.255.255.255/32", False, "the broadcast address"),
    ("::/0", False, "an address outside the global unicast range"),
    ("::/128", False, "the unspecified address"),
    ("::1/128", False, "a loopback address"),
    ("::ffff:0:0/96", False, "an IPv4 address in IPv6 form"),
    ("64:ff9b::/96", True, "NAT64"),
    ("64:ff9b:1::/48", False, "a local NAT64 address"),
    ("100::/64", False, "a discard-only address"),
    ("100:0:0:1::/64", False, "a dummy address"),
    ("2000::/3", True, "an ordinary address"),
    ("2001::/23", False, "an address for protocol assignments"),
    ("2001::/32", False, "a Teredo tunnel address"),
    ("2001:1::1/128", True, "Port Control Protocol anycast"),
    ("2001:1::2/128", True, "TURN anycast"),
    ("2001:1::3/128", True, "DNS-SD registration anycast"),
    ("2001:2::/48", False, "a benchmarking address"),
    ("2001:3::/32", True, "AMT"),
    ("2001:4:112::/48", True, "AS112"),
    ("2001:10::/28", False, "a deprecated ORCHID"),
    ("2001:20::/28", True, "ORCHIDv2"),
    ("2001:30::/28", True, "a drone's identity tag"),
    ("2001:db8::/32", False, "a documentation address"),
    ("2002::/16", False, "a 6to4 tunnel address"),
    ("2620:4f:8000::/48", True, "AS112"),
    ("3fff::/20", False, "a documentation address"),
    ("5f00::/16", False, "a segment routing address"),
    ("fc00::/7", False, "a private (unique local) address"),
    ("fe80::/10", False, "a link-local address"),
    ("fec0::/10", False, "a deprecated site-local address"),
    ("ff00::/8", False, "a multicast address"),
)
_TABLE: Final = tuple(
    sorted(
        ((ipaddress.ip_network(text), reachable, what) for text, reachable, what in _SPECIAL),
        key=lambda row: row[0].prefixlen,
        reverse=True,
    )
)


def refusal(address: str | Address, allow: Sequence[Network] = ()) -> str | None:
    """A plain sentence why this address is not dialled, or None when it may be. `allow` is what the operator named."""
    try:
        literal = ipaddress.ip_address(address)
    except ValueError:
        return "This is not an IP address, and only literal IP addresses are dialled."
    if isinstance(literal, ipaddress.IPv6Address) and literal.scope_id is not None:
        return f"{literal} is not dialled: it names an interface of this machine."
    named = _named(literal, allow)
    for part in (literal, *_embedded(literal)):
        if named and _named(part, allow):
            continue
        network, reachable, what = next(row for row in _TABLE if part in row[0])
        if not reachable:
            carried = "" if part == literal else f" it carries {part}, and that is"
            return f"{literal} is not dialled:{carried or ' it is'} {what} ({network})."
    return None


def _named(address: Address, allow: Sequence[Network]) -> bool:
    return any(address in network for network in allow)


def _embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that a tunnel or translator would send this on to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    for prefix in _LOW_32_BITS:
        if address in prefix and int(address) > 1:  # :: and ::1 carry nothing
            yield low
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


# RFC 4291 2.5.5.1 and 2.5.5.2 (compatible, mapped), RFC 6052 2.2 and RFC 8215 (NAT64; the usual /96 layout).
_LOW_32_BITS: Final = tuple(ipaddress.IPv6Network(text) for text in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
