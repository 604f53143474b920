"""Resolvers that mean ill (threat D8): whatever they answer, a look-up ends in its time, typed, and with no more than the caps allow."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

import pytest

from core.net.resolve import MOST_ADDRESSES, MOST_CNAMES, Resolution, Unresolved, open_resolver, resolve
from core.scanner.facts import FailureKind, Scan, Stage, Target
from core.scanner.handshake import Budget
from core.scanner.scan import Outlook, scan_all, scan_target
from demo.pki import make_chain
from tests.dnshostile import AAAA, CNAME, TXT, A, Question, Say, name_of, packet, question_of, raw_dns, record, truncated
from tests.intime import in_time
from tests.servers import Behaviour, tls_server

NAME: Final = "a.test"
TIME_S: Final = 0.3
LATE_S: Final = 1.0
"""What a machine with other work to do may add."""
LOOPBACK: Final = record(A, bytes([127, 0, 0, 1]))


def ask(resolver: str, name: str = NAME, timeout_s: float = TIME_S) -> Resolution:
    """The answer, which must come in its time."""

    async def run() -> Resolution:
        async with open_resolver([resolver]) as dns:
            return await resolve(name, dns, timeout_s)

    found = in_time(lambda: asyncio.run(run()), timeout_s + LATE_S)
    assert (found.failure is None) == bool(found.addresses)
    return found


def only_a(*answers: bytes, **how: int | bytes) -> Say:
    """These answers to a question for A, and none to others."""
    return lambda question: [packet(question, answers if question.kind == A else (), **how)]  # type: ignore[arg-type]  # as packet() takes them


def cnames(count: int) -> list[bytes]:
    """A chain of aliases n1, n2 … and an address at its end."""
    names = [name_of(b"a", b"test"), *(name_of(b"n%d" % number, b"test") for number in range(1, count + 1))]
    chain = [record(CNAME, after, name=before) for before, after in pairwise(names)]
    return [*chain, record(A, bytes([127, 0, 0, 1]), name=names[-1])]


def crowd(count: int) -> list[bytes]:
    return [record(A, (0x7F000001 + number).to_bytes(4, "big")) for number in range(count)]


@dataclass(frozen=True)
class Ill:
    """What a resolver answers, and what comes of it: the kind of failure, or the addresses."""

    udp: Say
    ends: Unresolved | tuple[str, ...]
    says: str = ""
    tcp: Say | None = None
    stream: Behaviour | None = None


def whole(*answers: bytes) -> Say:
    """Once more by TCP, and there in full."""
    return only_a(*answers)


def silence(_question: Question) -> list[bytes]:
    return []


def announced(connection: socket.socket, ended: threading.Event) -> None:
    """Say that 64 KB follow, and nothing more."""
    connection.recv(4096)
    connection.sendall(b"\xff\xff")
    ended.wait(5)


def dripped(connection: socket.socket, ended: threading.Event) -> None:
    """The right answer, one byte at a time."""
    asked = connection.recv(4096)
    answer = packet(question_of(asked[2:]), [LOOPBACK])
    for byte in len(answer).to_bytes(2, "big") + answer:
        if ended.wait(0.05):
            return
        connection.sendall(bytes([byte]))


def cut(connection: socket.socket, _ended: threading.Event) -> None:
    """Half of an answer, and then the end."""
    connection.recv(4096)
    connection.sendall(b"\xff\xff" + bytes(500))


TOO_SLOW: Final = "No DNS resolver answered in time."
ERROR, NONE, UNKNOWN = Unresolved.DNS_ERROR, Unresolved.NO_ADDRESS, Unresolved.NO_SUCH_NAME
CASES: Final[dict[str, Ill]] = {
    "an honest one": Ill(only_a(LOOPBACK), ("127.0.0.1",)),
    "silence": Ill(silence, ERROR, TOO_SLOW),
    "garbage": Ill(lambda _: [b"\xff" * 40, b"\0" * 600, b"x"], ERROR),
    "garbage after the right head": Ill(lambda q: [q.id + b"\x81\x80" + b"\xff" * 200], ERROR),
    "a wrong id": Ill(lambda q: [b"\0\0" + packet(q, [LOOPBACK])[2:]], ERROR, TOO_SLOW),
    "every id but the right one": Ill(
        lambda q: [n.to_bytes(2, "big") + packet(q, [LOOPBACK])[2:] for n in range(0, 65_536, 32) if n != int.from_bytes(q.id, "big")],
        ERROR,
        TOO_SLOW,
    ),
    "an answer to another question": Ill(
        lambda q: [packet(Question(q.id, name_of(b"b", b"test") + q.raw[-4:], q.kind), [LOOPBACK])], ERROR, TOO_SLOW
    ),
    "a question for an answer": Ill(lambda q: [packet(q, flags=0x0100)], NONE),
    "a head alone": Ill(lambda q: [packet(q)[:12]], ERROR),
    "more answers announced than there are": Ill(only_a(LOOPBACK, count=65_535), ERROR),
    "data that are longer than the packet": Ill(only_a(record(A, bytes([127, 0, 0, 1]), says=65_535)), ERROR),
    "an IPv4 address of three bytes": Ill(only_a(record(A, bytes([127, 0, 0]))), ERROR),
    "an IPv4 address of five bytes": Ill(only_a(record(A, bytes([127, 0, 0, 1, 9]))), ("127.0.0.1",)),
    "an IPv6 address where IPv4 was asked": Ill(only_a(record(AAAA, ipaddress.IPv6Address("::1").packed)), ("::1",)),
    "a name that points at itself": Ill(only_a(record(CNAME, b"\xc0\x0c", name=b"\xc0\x0c"), record(A, bytes(4), name=b"\xc0\x30")), ERROR),
    "a pointer past the end": Ill(only_a(record(CNAME, b"\xff\xff")), ERROR),
    "a label of 255 characters": Ill(only_a(record(CNAME, name_of(b"a" * 255, b"test"))), ERROR),
    "a label of 64 characters": Ill(only_a(record(CNAME, name_of(b"a" * 64, b"test"))), ERROR),
    "a name of 1,000 characters": Ill(only_a(record(CNAME, name_of(*[b"a" * 60] * 16))), ERROR),
    "an alias of itself": Ill(only_a(record(CNAME, b"\xc0\x0c")), ERROR, "circle"),
    "an alias of itself in capitals": Ill(only_a(record(CNAME, name_of(b"A", b"TEST"))), ERROR, "circle"),
    "two aliases of each other": Ill(
        only_a(record(CNAME, name_of(b"b", b"test")), record(CNAME, name_of(b"a", b"test"), name=name_of(b"b", b"test"))), ERROR, "circle"
    ),
    "ten aliases": Ill(only_a(*cnames(MOST_CNAMES)), ("127.0.0.1",)),
    "eleven aliases": Ill(only_a(*cnames(MOST_CNAMES + 1)), ERROR, "more than 10 CNAMEs"),
    "a thousand aliases": Ill(truncated, ERROR, "more than 10 CNAMEs", tcp=whole(*cnames(1_000))),
    "a thousand addresses": Ill(truncated, tuple(f"127.0.0.{number}" for number in range(1, 17)), tcp=whole(*crowd(1_000))),
    "64 KB of addresses": Ill(truncated, tuple(f"127.0.0.{number}" for number in range(1, 17)), tcp=whole(*crowd(4_090))),
    "64 KB of text": Ill(truncated, NONE, tcp=whole(*[record(TXT, b"\xff" + b"<" * 255)] * 240)),
    "64 KB of text before an address": Ill(truncated, ("127.0.0.1",), tcp=whole(*[record(TXT, b"\xff" + b"<" * 255)] * 240, LOOPBACK)),
    "64 KB of nothing after the answer": Ill(truncated, ("127.0.0.1",), tcp=only_a(LOOPBACK, tail=bytes(65_000))),
    "cut short, and no TCP": Ill(truncated, ERROR),
    "cut short, and cut short again": Ill(truncated, NONE, tcp=truncated),
    "cut short, and silence": Ill(truncated, ERROR, TOO_SLOW, tcp=silence),
    "64 KB announced, and silence": Ill(truncated, ERROR, TOO_SLOW, stream=announced),
    "a byte now and then": Ill(truncated, ERROR, TOO_SLOW, stream=dripped),
    "half an answer": Ill(truncated, ERROR, stream=cut),
    "an unknown code": Ill(lambda q: [packet(q, flags=0x818F)], ERROR),
    "an address and NXDOMAIN": Ill(only_a(LOOPBACK, flags=0x8183), UNKNOWN),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_ill_meaning_resolver_ends_typed_and_in_time(name: str) -> None:
    ill = CASES[name]
    time_s = 5.0 if isinstance(ill.ends, tuple) else TIME_S  # what is answered ends by itself, and the machine may have other work
    with raw_dns(ill.udp, ill.tcp, stream=ill.stream) as resolver:
        found = ask(resolver, timeout_s=time_s)
    if isinstance(ill.ends, tuple):
        assert found.addresses == ill.ends
        assert len(found.addresses) <= MOST_ADDRESSES
        return
    assert found.failure is not None
    assert found.failure.kind is ill.ends, found
    assert ill.says in found.failure.message
    assert found.failure.message.isprintable()
    assert len(found.failure.message) < 200
    assert found.cname_chain == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        b"\0",
        b"a\0b",
        b" ",
        b"<script>alert(1)</script>",
        b'"><img src=x>',
        b"\x1b[31m",
        b"\r\nSet-Cookie: a",
        b"\xff\xfe",
        b"a.b",
        b"\\",
        "\u202e".encode(),
    ],
    ids=range(11),
)
def test_no_label_of_an_alias_is_more_than_text(label: bytes) -> None:
    """Such an alias is refused, or it is shown: then as printable ASCII, with what is odd in it spelled out."""
    alias = name_of(label, b"test")
    with raw_dns(only_a(record(CNAME, alias), record(A, bytes([127, 0, 0, 1]), name=alias))) as resolver:
        found = ask(resolver)
    assert found.failure is None or found.failure.kind in {ERROR, NONE}
    for part in found.cname_chain:
        assert part.isascii()
        assert part.isprintable()
        assert len(part) < 1_100
    assert found.failure is None or label.decode("latin-1") not in found.failure.message


@pytest.mark.slow
def test_a_name_that_comes_and_goes_is_told_as_it_was_each_time() -> None:
    """NXDOMAIN and an address in turns: every scan is one or the other, and all of a batch are the same."""
    chain = make_chain([NAME])
    turns: list[bool] = []

    def flapping(question: Question) -> list[bytes]:
        if question.kind == A:
            turns.append(True)
        return (
            [packet(question, [LOOPBACK] if question.kind == A else [], flags=0x8180)]
            if len(turns) % 2
            else [packet(question, flags=0x8183)]
        )

    async def batch(resolver: str, port: int) -> set[FailureKind | None]:
        wanted = [(number, Target(NAME, port), [ipaddress.ip_network("127.0.0.0/8")]) for number in range(20)]
        scans = [scan async for _, scan in scan_all(wanted, Outlook((resolver,)), now=lambda: datetime.now(UTC))]
        return {each.failure.kind if each.failure else None for scan in scans for each in scan.observations}

    with raw_dns(flapping) as resolver, tls_server(chain.pem, chain.key_pem) as server:
        seen = [asyncio.run(batch(resolver, server.port)) for _ in range(6)]
    assert seen == [{None}, {FailureKind.NO_SUCH_NAME}] * 3


@pytest.mark.slow
def test_what_an_answer_holds_is_not_kept() -> None:
    """A thousand answers of 64 KB each, of which 16 addresses are wanted."""
    with raw_dns(truncated, whole(*[record(TXT, b"\xff" + b"<" * 255)] * 240)) as resolver:

        async def run(times: int) -> None:
            async with open_resolver([resolver]) as dns:
                for _ in range(times):
                    await asyncio.gather(*(resolve(f"n{number}.test", dns, 5.0) for number in range(20)))

        asyncio.run(run(1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asyncio.run(run(5))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 32 * 1024 * 1024


@pytest.mark.slow
def test_five_seconds_are_the_most_and_a_scan_says_so() -> None:
    """With the budget that scans have, by UDP and by TCP: it is the resolver that did not answer, and not the server."""

    async def both(*resolvers: str) -> list[Scan]:
        return await asyncio.gather(*(scan_target(Target(NAME), Outlook((each,)), now=lambda: datetime.now(UTC)) for each in resolvers))

    with raw_dns(silence) as by_udp, raw_dns(truncated, stream=announced) as by_tcp:
        scans = in_time(lambda: asyncio.run(both(by_udp, by_tcp)), Budget().dns_s + LATE_S)
    told = [(each.failure.kind, each.failure.stage) for scan in scans for each in scan.observations if each.failure]
    assert told == [(FailureKind.DNS_ERROR, Stage.DNS)] * 2


@pytest.mark.slow
def test_silent_names_do_not_wait_for_each_other() -> None:
    """A hundred names whose servers say nothing take no longer than one."""

    async def all_of(resolver: str) -> list[Resolution]:
        async with open_resolver([resolver]) as dns:
            return await asyncio.gather(*(resolve(f"n{number}.test", dns, TIME_S) for number in range(100)))

    with raw_dns(silence) as resolver:
        found = in_time(lambda: asyncio.run(all_of(resolver)), TIME_S + LATE_S)
    assert {each.failure.kind for each in found if each.failure} == {Unresolved.DNS_ERROR}
