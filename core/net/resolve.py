"""Addresses of a name: A and AAAA asked at the same time, within five seconds, with caps on what an answer may hold.

The hosts file is not read, so that every machine sees the same; `localhost` and names under it are loopback without a
question asked (RFC 6761 section 6.3).
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final

import aiodns
import pycares
from aiodns.error import ARES_ECONNREFUSED, ARES_ENODATA, ARES_ENOTFOUND, ARES_EREFUSED, ARES_ESERVFAIL, ARES_ETIMEOUT

MOST_ADDRESSES: Final = 16
MOST_CNAMES: Final = 10
TIMEOUT_S: Final = 5.0
_TRY_S: Final = 1.5
_TRIES: Final = 2


class Unresolved(enum.StrEnum):
    """Why there is no address. The values are those of the scanner's failures."""

    NO_SUCH_NAME = "no_such_name"
    NO_ADDRESS = "no_address"
    DNS_ERROR = "dns_error"


@dataclass(frozen=True, slots=True)
class Failure:
    """No address was found. `message` is one plain sentence."""

    kind: Unresolved
    message: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the DNS says. `addresses` holds at most 16 literals, IPv4 first, sorted; it is empty only with a failure.

    `cname_chain` is the names passed through, in order, without the one that was asked for. `beyond` is the literals past the
    sixteenth: the guard is asked about them as about the others, but they are not dialled. `partial`: the name may have, or has,
    addresses that are not in `addresses`, since one family failed while the other answered or since there are some beyond. A
    family that is known to be empty is an answer.
    """

    cname_chain: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    failure: Failure | None = None
    beyond: tuple[str, ...] = ()
    partial: bool = False


class _AnswerError(ValueError):
    """An answer that is not followed. The message is for people."""


@asynccontextmanager
async def open_resolver(resolvers: Sequence[str] = ()) -> AsyncIterator[aiodns.DNSResolver]:
    """A resolver for the running loop; `resolvers` like "127.0.0.1:5353" or "[::1]:53", none: the system's."""
    async with aiodns.DNSResolver(list(resolvers) or None, timeout=_TRY_S, tries=_TRIES) as dns:
        yield dns


async def resolve(name: str, dns: aiodns.DNSResolver, timeout_s: float = TIMEOUT_S) -> Resolution:
    """Ask for A and AAAA of an A-label name. One family that fails while the other answers makes it partial."""
    if name == "localhost" or name.endswith(".localhost"):
        return Resolution(addresses=("127.0.0.1", "::1"))
    queries = [asyncio.ensure_future(dns.query_dns(name, kind)) for kind in ("A", "AAAA")]
    await asyncio.wait(queries, timeout=timeout_s)
    cnames: tuple[str, ...] = ()
    families: list[list[str]] = []
    errors: list[int] = []
    try:
        for query in queries:
            if not query.done():
                query.cancel()
                errors.append(ARES_ETIMEOUT)
            elif isinstance(error := query.exception(), aiodns.error.DNSError):
                errors.append(int(error.args[0]))
            else:
                found, family = _follow(name, query.result().answer)
                cnames = max(cnames, found, key=len)
                families.append(family)
    except _AnswerError as refused:
        return Resolution(failure=Failure(Unresolved.DNS_ERROR, str(refused)))
    addresses, beyond = _capped(families)
    if addresses:
        unanswered = any(error not in _ANSWERS for error in errors)
        return Resolution(cnames, addresses, beyond=beyond, partial=unanswered or bool(beyond))
    return Resolution(cnames, failure=_failure(name, errors))


def _follow(name: str, answer: Iterable[pycares.DNSRecord]) -> tuple[tuple[str, ...], list[str]]:
    """The CNAMEs from `name` on and the addresses at their end; records of other names in the answer are passed over."""
    targets: dict[str, str] = {}
    literals: dict[str, list[str]] = {}
    for record in answer:
        owner = _plain(record.name)
        if isinstance(record.data, pycares.CNAMERecordData):
            targets.setdefault(owner, _plain(record.data.cname))
        elif isinstance(record.data, pycares.ARecordData | pycares.AAAARecordData):
            literals.setdefault(owner, []).append(record.data.addr)
    passed: list[str] = [_plain(name)]
    while passed[-1] in targets:
        following = targets[passed[-1]]
        if following in passed:
            raise _AnswerError("The CNAMEs of this name go round in a circle.")
        passed.append(following)
        if len(passed) > MOST_CNAMES + 1:
            raise _AnswerError(f"This name leads through more than {MOST_CNAMES} CNAMEs, which is as far as we follow.")
    return tuple(passed[1:]), literals.get(passed[-1], [])


def _plain(name: str | bytes) -> str:
    text = name.decode("ascii", "backslashreplace") if isinstance(name, bytes) else name
    return text.lower().rstrip(".")


def _capped(families: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """At most 16, of both families alike, the same ones whatever order the server shuffled them into; and those beyond."""
    sorted_ones = [sorted({ipaddress.ip_address(literal) for literal in family}, key=int) for family in families]
    taken = [address for address in chain.from_iterable(zip_longest(*sorted_ones)) if address is not None]
    kept = sorted(taken[:MOST_ADDRESSES], key=lambda address: (address.version, int(address)))
    return tuple(map(str, kept)), tuple(map(str, taken[MOST_ADDRESSES:]))


_ANSWERS: Final = frozenset({ARES_ENODATA, ARES_ENOTFOUND})
"""Errors that say for certain that a family is empty. Some balancers answer NXDOMAIN for the family that they do not know."""
_WORDS: Final = {
    ARES_ETIMEOUT: "No DNS resolver answered in time.",
    ARES_ECONNREFUSED: "No DNS resolver could be reached.",
    ARES_ESERVFAIL: "The DNS server of this name failed (SERVFAIL): its zone may be broken, or its DNSSEC signatures.",
    ARES_EREFUSED: "The DNS resolver refused the question (REFUSED).",
}


def _failure(name: str, errors: Sequence[int]) -> Failure:
    """The failure that both families' errors come to. Both empty: no address; one that is worse than empty wins."""
    if ARES_ENOTFOUND in errors:
        return Failure(Unresolved.NO_SUCH_NAME, f"The DNS knows no name {name} (NXDOMAIN).")
    worse = [error for error in errors if error != ARES_ENODATA]
    if worse:
        reason = pycares.errno.errorcode.get(worse[0], str(worse[0]))
        return Failure(Unresolved.DNS_ERROR, _WORDS.get(worse[0], f"The DNS gave no usable answer ({reason})."))
    return Failure(Unresolved.NO_ADDRESS, f"The name {name} exists, but it has neither an IPv4 nor an IPv6 address.")
