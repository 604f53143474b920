from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest
from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSRecord

from core.net.resolve import Resolution, Unresolved, open_resolver, resolve
from core.scanner.facts import FailureKind
from tests.dnsserver import bind9, stub_dns
from tests.intime import in_time

ZONE = """
one A 127.0.0.1
two A 127.0.0.2
two A 127.0.0.1
both A 127.0.0.1
both AAAA ::1
six AAAA ::1
empty TXT "nothing to dial"
alias CNAME alias2
alias2 CNAME both
round CNAME round2
round2 CNAME round
gone CNAME nowhere
hop0 A 127.0.0.1
""" + "\n".join(f"hop{number} CNAME hop{number - 1}" for number in range(1, 15))


def ask(name: str, *resolvers: str, timeout_s: float = 5.0) -> Resolution:
    async def run() -> Resolution:
        async with open_resolver(resolvers) as dns:
            return await resolve(name, dns, timeout_s)

    return asyncio.run(run())


def kind(resolution: Resolution) -> Unresolved | None:
    assert (resolution.failure is None) == bool(resolution.addresses)
    return resolution.failure.kind if resolution.failure else None


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    with bind9({"kc.test": ZONE, "broken.test": "a A not-an-address"}) as address:
        yield address


@pytest.mark.parametrize(
    ("name", "addresses", "cnames"),
    [
        ("one.kc.test", ("127.0.0.1",), ()),
        ("ONE.kc.test", ("127.0.0.1",), ()),
        ("two.kc.test", ("127.0.0.1", "127.0.0.2"), ()),
        ("both.kc.test", ("127.0.0.1", "::1"), ()),
        ("six.kc.test", ("::1",), ()),
        ("alias.kc.test", ("127.0.0.1", "::1"), ("alias2.kc.test", "both.kc.test")),
        ("hop10.kc.test", ("127.0.0.1",), tuple(f"hop{number}.kc.test" for number in range(9, -1, -1))),
    ],
)
def test_what_the_dns_says(resolver: str, name: str, addresses: tuple[str, ...], cnames: tuple[str, ...]) -> None:
    assert ask(name, resolver) == Resolution(cnames, addresses)


@pytest.mark.parametrize(
    ("name", "failed", "says"),
    [
        ("nothing.kc.test", Unresolved.NO_SUCH_NAME, "NXDOMAIN"),
        ("gone.kc.test", Unresolved.NO_SUCH_NAME, "NXDOMAIN"),
        ("empty.kc.test", Unresolved.NO_ADDRESS, "neither"),
        ("a.broken.test", Unresolved.DNS_ERROR, "SERVFAIL"),
        ("elsewhere.example", Unresolved.DNS_ERROR, "REFUSED"),
        ("round.kc.test", Unresolved.DNS_ERROR, "SERVFAIL"),  # what bind9 makes of a circle
        ("hop11.kc.test", Unresolved.DNS_ERROR, "more than 10 CNAMEs"),
    ],
)
def test_failures_are_typed(resolver: str, name: str, failed: Unresolved, says: str) -> None:
    found = ask(name, resolver)
    assert kind(found) is failed
    assert found.failure is not None
    assert says in found.failure.message


@pytest.mark.parametrize("name", ["localhost", "a.b.localhost"])
def test_localhost_is_loopback_and_nobody_is_asked(name: str) -> None:
    with stub_dns(lambda request: None) as stub:
        assert ask(name, stub.resolver) == Resolution((), ("127.0.0.1", "::1"))
        assert stub.asked == []


def reply(make: Callable[[str, str], list[RR]], rcode: int = 0) -> Callable[[DNSRecord], DNSRecord]:
    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        record.header.rcode = rcode
        for resource in make(str(request.q.qname), str(QTYPE[request.q.qtype])):
            record.add_answer(resource)
        return record

    return answer


SOME = {"A": ("192.0.2.1", A("192.0.2.1")), "AAAA": ("2001:db8::1", AAAA("2001:db8::1"))}


@pytest.mark.parametrize("answered", ["A", "AAAA"])
@pytest.mark.parametrize(
    ("rcode", "partial"), [(RCODE.SERVFAIL, True), (RCODE.REFUSED, True), (RCODE.NXDOMAIN, False), (RCODE.NOERROR, False)]
)
def test_one_family_that_fails_while_the_other_answers_makes_it_partial(answered: str, rcode: int, partial: bool) -> None:
    literal, data = SOME[answered]

    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if QTYPE[request.q.qtype] == answered:
            record.add_answer(RR("a.test", request.q.qtype, rdata=data))
        else:
            record.header.rcode = rcode
        return record

    with stub_dns(answer) as stub:
        assert ask("a.test", stub.resolver) == Resolution((), (literal,), partial=partial)
        assert {question for _, question in stub.asked} == {"A", "AAAA"}


@pytest.mark.slow
def test_a_silent_family_costs_the_time_and_the_other_is_kept() -> None:
    def answer(request: DNSRecord) -> DNSRecord | None:
        if request.q.qtype == QTYPE.A:
            return None
        record = request.reply()
        record.add_answer(RR("a.test", QTYPE.AAAA, rdata=AAAA("2001:db8::1")))
        return record

    with stub_dns(answer) as stub:
        assert ask("a.test", stub.resolver, timeout_s=0.3) == Resolution((), ("2001:db8::1",), partial=True)


@pytest.mark.slow
def test_silence_ends_in_time() -> None:
    with stub_dns(lambda request: None) as stub:
        found = in_time(lambda: ask("a.test", stub.resolver, timeout_s=0.3), 2.0)
    assert kind(found) is Unresolved.DNS_ERROR
    assert found.failure is not None
    assert "in time" in found.failure.message


def test_no_resolver_at_all() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert kind(ask("a.test", f"127.0.0.1:{port}")) is Unresolved.DNS_ERROR


@pytest.mark.slow
def test_a_thousand_addresses_are_capped_and_always_the_same_ones() -> None:
    order = list(range(1_000))

    def make(name: str, question: str) -> list[RR]:
        order.reverse()
        if question == "A":
            return [RR(name, QTYPE.A, rdata=A(f"192.0.{2 + number // 250}.{1 + number % 250}")) for number in order]
        return [RR(name, QTYPE.AAAA, rdata=AAAA(f"2001:db8::{number:x}")) for number in order]

    with stub_dns(reply(make)) as stub:
        first, second = ask("a.test", stub.resolver), ask("a.test", stub.resolver)
    assert first == second
    assert len(first.addresses) == 16
    assert first.addresses[:2] == ("192.0.2.1", "192.0.2.2")
    assert first.addresses[8:10] == ("2001:db8::", "2001:db8::1")
    assert first.partial
    assert len({*first.addresses, *first.beyond}) == len(first.addresses) + len(first.beyond) == 2_000


def test_records_of_other_names_are_passed_over() -> None:
    def make(name: str, question: str) -> list[RR]:
        if question != "A":
            return []
        return [
            RR(name, QTYPE.CNAME, rdata=CNAME("b.test")),
            RR("b.test", QTYPE.A, rdata=A("192.0.2.7")),
            RR("evil.test", QTYPE.A, rdata=A("127.0.0.1")),
        ]

    with stub_dns(reply(make)) as stub:
        assert ask("a.test", stub.resolver) == Resolution(("b.test",), ("192.0.2.7",))


def test_a_circle_of_cnames_is_not_walked_for_ever() -> None:
    def make(name: str, question: str) -> list[RR]:
        return [RR("a.test", QTYPE.CNAME, rdata=CNAME("b.test")), RR("b.test", QTYPE.CNAME, rdata=CNAME("A.test"))]

    with stub_dns(reply(make)) as stub:
        found = ask("a.test", stub.resolver)
    assert kind(found) is Unresolved.DNS_ERROR
    assert found.failure is not None
    assert "circle" in found.failure.message


def test_a_long_answer_comes_by_tcp_from_a_real_server() -> None:
    with bind9({"kc.test": "\n".join(f"many AAAA 2001:db8::{number:x}" for number in range(90))}) as resolver:
        assert len(ask("many.kc.test", resolver).addresses) == 16


@pytest.mark.parametrize("label", [b"a b", b"<b>", b"\x00", b"\xff", b"a.b"])
def test_hostile_labels_in_an_answer_end_typed(label: bytes) -> None:
    def make(name: str, question: str) -> list[RR]:
        return [RR(name, QTYPE.CNAME, rdata=CNAME([label, b"test"])), RR([label, b"test"], QTYPE.A, rdata=A("192.0.2.7"))]

    with stub_dns(reply(make)) as stub:
        found = ask("a.test", stub.resolver)
    assert kind(found) in {None, Unresolved.DNS_ERROR, Unresolved.NO_ADDRESS}
    assert all(part.isprintable() for part in found.cname_chain)


def test_names_the_dns_cannot_carry_end_typed() -> None:
    with stub_dns(lambda request: None) as stub:
        for name in ("a" * 64 + ".test", "a..test", ".".join(["a" * 60] * 5)):
            assert kind(ask(name, stub.resolver)) is Unresolved.DNS_ERROR


def test_the_kinds_are_those_of_the_scanner() -> None:
    assert {kind.value for kind in Unresolved} <= {kind.value for kind in FailureKind}
