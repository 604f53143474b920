from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from core.net.guard import Network
from core.scanner.facts import FailureKind, Observation, Scan, Stage, Target
from core.scanner.handshake import Budget
from core.scanner.scan import MOST_PROBES_AT_ONCE, Outlook, scan_all, scan_target
from demo.pki import Chain, make_chain
from tests.dnsserver import bind9, stub_dns
from tests.intime import in_time
from tests.servers import Server, hang_up, raw_server, silent, tls_server

LOOPBACK: Final[tuple[Network, ...]] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
ZONE: Final = """
one A 127.0.0.1
both A 127.0.0.1
both AAAA ::1
differ A 127.0.0.1
differ A 127.0.0.2
mixed A 127.0.0.1
mixed A 192.0.2.1
alias CNAME alias2
alias2 CNAME one
empty TXT "nothing to dial"
many A 127.0.0.1
""" + "\n".join(f"many A 127.0.1.{number}" for number in range(1, 12))


def now() -> datetime:
    return datetime.now(UTC)


def scan(target: Target, *, resolver: str = "", allow: Sequence[Network] = LOOPBACK, budget: Budget | None = None) -> Scan:
    outlook = Outlook(resolvers=(resolver,) if resolver else (), budget=budget or Budget())
    return asyncio.run(scan_target(target, outlook, allow=allow, now=now))


def only(result: Scan) -> Observation:
    assert len(result.observations) == 1
    return result.observations[0]


def kinds(result: Scan) -> list[FailureKind | None]:
    return [each.failure.kind if each.failure else None for each in result.observations]


def all_of(targets: Sequence[tuple[int, Target, Sequence[Network]]], outlook: Outlook, in_flight: int = 200) -> dict[int, Scan]:
    async def run() -> dict[int, Scan]:
        ended: dict[int, Scan] = {}
        async for key, result in scan_all(targets, outlook, now=now, in_flight=in_flight):
            assert key not in ended
            ended[key] = result
        return ended

    return asyncio.run(run())


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    with bind9({"kc.test": ZONE}) as address:
        yield address


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain(["one.kc.test"])


@pytest.fixture(scope="module")
def good(chain: Chain) -> Iterator[Server]:
    with tls_server(chain.pem, chain.key_pem) as server:
        yield server


def test_from_a_name_to_its_chain(resolver: str, good: Server, chain: Chain) -> None:
    before = now()
    result = scan(Target("alias.kc.test", good.port), resolver=resolver)
    assert before <= result.scanned_at <= now()
    assert result.scanned_at.tzinfo is UTC
    assert result.cname_chain == ("alias2.kc.test", "one.kc.test")
    seen = only(result)
    assert (seen.address, seen.perspective, seen.failure, seen.chain) == ("127.0.0.1", "local", None, chain.ders)
    assert seen.tls is not None
    assert seen.tls.group == "X25519MLKEM768"
    assert good.names[-1] == b"alias.kc.test"  # SNI is the name that was asked for, not where its CNAMEs lead


def test_both_families_are_dialled(resolver: str, chain: Chain, good: Server) -> None:
    with tls_server(chain.pem, chain.key_pem, address="::1", port=good.port) as six:
        result = scan(Target("both.kc.test", good.port), resolver=resolver)
        assert six.connections == 1
    assert [(each.address, each.failure) for each in result.observations] == [("127.0.0.1", None), ("::1", None)]


def test_two_addresses_that_differ(resolver: str, good: Server, chain: Chain) -> None:
    other = make_chain(["differ.kc.test"])
    with tls_server(other.pem, other.key_pem, address="127.0.0.2", port=good.port):
        result = scan(Target("differ.kc.test", good.port), resolver=resolver)
    assert [each.chain for each in result.observations] == [chain.ders, other.ders]


def test_one_address_that_fails_leaves_the_other(resolver: str, good: Server) -> None:
    result = scan(Target("differ.kc.test", good.port), resolver=resolver)
    assert kinds(result) == [None, FailureKind.REFUSED]
    assert result.observations[1].failure is not None
    assert result.observations[1].failure.stage is Stage.CONNECT


@pytest.mark.parametrize(
    ("name", "kind"),
    [("nothing.kc.test", FailureKind.NO_SUCH_NAME), ("empty.kc.test", FailureKind.NO_ADDRESS), ("else.example", FailureKind.DNS_ERROR)],
)
def test_a_name_without_an_address_is_an_observation_too(resolver: str, name: str, kind: FailureKind) -> None:
    seen = only(scan(Target(name), resolver=resolver))
    assert seen.failure is not None
    assert (seen.address, seen.failure.kind, seen.failure.stage) == ("", kind, Stage.DNS)


@pytest.mark.parametrize("name", ["one.kc.test", "both.kc.test", "localhost"])
def test_private_addresses_are_refused_and_see_no_connection(resolver: str, name: str) -> None:
    with raw_server(silent) as listener:
        result = scan(Target(name, listener.port), resolver=resolver, allow=())
        assert listener.connections == 0
    assert set(kinds(result)) == {FailureKind.REFUSED_ADDRESS}
    assert all(each.failure is not None and each.failure.stage is Stage.GUARD for each in result.observations)


def test_any_denied_address_refuses_the_whole_name(resolver: str) -> None:
    with raw_server(silent) as listener:
        result = scan(Target("mixed.kc.test", listener.port), resolver=resolver)
        assert listener.connections == 0
    assert [each.address for each in result.observations] == ["127.0.0.1", "192.0.2.1"]
    assert kinds(result) == [FailureKind.REFUSED_ADDRESS] * 2
    first, second = (each.failure.message for each in result.observations if each.failure)
    assert "the name also has an address" in first
    assert "documentation" in second


def test_an_address_past_the_cut_is_guarded_too(good: Server) -> None:
    def answer(request: DNSRecord, last: str) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            for literal in [*(f"127.0.0.{number}" for number in range(1, 20)), last]:
                record.add_answer(RR("crowd.test", QTYPE.A, rdata=A(literal)))
        return record

    with stub_dns(lambda request: answer(request, "192.168.0.1")) as stub:
        refused = scan(Target("crowd.test", good.port), resolver=stub.resolver)
    with stub_dns(lambda request: answer(request, "127.0.0.99")) as stub:
        dialled = scan(Target("crowd.test", good.port), resolver=stub.resolver)
    assert kinds(refused) == [FailureKind.REFUSED_ADDRESS] * 17
    assert refused.observations[-1].address == "192.168.0.1"
    assert kinds(dialled) == [None] + [FailureKind.REFUSED] * 15
    assert refused.partial
    assert dialled.partial


@pytest.mark.parametrize(("rcode", "partial"), [(RCODE.SERVFAIL, True), (RCODE.NOERROR, False)])
def test_a_scan_says_when_half_of_the_dns_did_not_answer(good: Server, rcode: int, partial: bool) -> None:
    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            record.add_answer(RR("half.test", QTYPE.A, rdata=A("127.0.0.1")))
        else:
            record.header.rcode = rcode
        return record

    with stub_dns(answer) as stub:
        result = scan(Target("half.test", good.port), resolver=stub.resolver)
        denied = scan(Target("half.test", good.port), resolver=stub.resolver, allow=())
    assert (kinds(result), result.partial, denied.partial) == ([None], partial, partial)


def test_what_was_checked_is_what_is_dialled(good: Server) -> None:
    """DNS rebinding: an answer that may be dialled first, one that may not ever after. Nobody asks a second time."""
    answers = iter(["127.0.0.1"])

    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            record.add_answer(RR("rebind.test", QTYPE.A, ttl=0, rdata=A(next(answers, "127.0.0.66"))))
        return record

    allow = (ipaddress.ip_network("127.0.0.1/32"),)
    with stub_dns(answer) as stub, raw_server(silent, "127.0.0.66", good.port) as internal:
        first = scan(Target("rebind.test", good.port), resolver=stub.resolver, allow=allow)
        assert sorted(stub.asked) == [("rebind.test", "A"), ("rebind.test", "AAAA")]
        assert kinds(first) == [None]
        assert only(first).address == "127.0.0.1"
        assert kinds(scan(Target("rebind.test", good.port), resolver=stub.resolver, allow=allow)) == [FailureKind.REFUSED_ADDRESS]
        assert internal.connections == 0


def test_a_fixed_address_is_dialled_alone_and_nobody_is_asked(good: Server, chain: Chain) -> None:
    with stub_dns(lambda request: None) as stub:
        result = scan(Target("one.kc.test", good.port, address="127.0.0.1"), resolver=stub.resolver)
        assert only(result).chain == chain.ders
        assert kinds(scan(Target("one.kc.test", good.port, address="127.0.0.1"), resolver=stub.resolver, allow=())) == [
            FailureKind.REFUSED_ADDRESS
        ]
        assert stub.asked == []


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:127.0.0.1", "2130706433", "localhost", "fe80::1%lo"])
def test_a_fixed_address_is_guarded(address: str) -> None:
    assert kinds(scan(Target("one.kc.test", 443, address=address))) == [FailureKind.REFUSED_ADDRESS]


def test_a_server_that_speaks_other_protocols_is_dialled_again_without_naming_any(chain: Chain) -> None:
    with tls_server(chain.pem, chain.key_pem, alpn=[b"smtp"]) as server:
        seen = only(scan(Target("one.kc.test", server.port, address="127.0.0.1")))
        assert server.connections == 2
    assert seen.chain == chain.ders


@pytest.mark.slow
def test_a_name_with_many_slow_addresses_ends_within_its_deadline(resolver: str) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(raw_server(silent))
        others = [stack.enter_context(raw_server(silent, f"127.0.1.{number}", first.port)) for number in range(1, 12)]
        budget = Budget(total_s=0.9, handshake_s=0.6)

        def dialled_by_one() -> tuple[Scan, int]:
            before = sum(server.connections for server in [first, *others])
            result = scan(Target("many.kc.test", first.port), resolver=resolver, budget=budget)
            return result, sum(server.connections for server in [first, *others]) - before

        result, dialled = in_time(dialled_by_one, 2.0)
    assert kinds(result) == [FailureKind.TIMEOUT] * 12
    stages = [each.failure.stage for each in result.observations if each.failure]
    assert stages.count(Stage.HANDSHAKE) == dialled
    assert MOST_PROBES_AT_ONCE <= dialled <= 2 * MOST_PROBES_AT_ONCE
    over = [each.failure.message for each in result.observations if each.failure and each.failure.stage is Stage.CONNECT]
    assert over
    assert all("were over before" in message for message in over)


@pytest.mark.slow
def test_scans_come_as_they_end_and_each_once(resolver: str, good: Server) -> None:
    async def order(slow_port: int) -> list[int]:
        targets = [(0, Target("one.kc.test", slow_port), LOOPBACK), (1, Target("one.kc.test", good.port), LOOPBACK)]
        outlook = Outlook((resolver,), budget=Budget(handshake_s=0.3))
        return [key async for key, _ in scan_all(targets, outlook, now=now)]

    with raw_server(silent) as slow:
        assert asyncio.run(order(slow.port)) == [1, 0]


@pytest.mark.slow
def test_every_target_of_many_ends_once_and_each_name_is_asked_once(good: Server) -> None:
    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            record.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("127.0.0.1")))
        return record

    targets = [(number, Target(f"n{number % 5}.test", good.port), LOOPBACK) for number in range(150)]
    with stub_dns(answer) as stub:
        ended = all_of(targets, Outlook((stub.resolver,)), in_flight=40)
        assert sorted(stub.asked) == sorted((f"n{number}.test", kind) for number in range(5) for kind in ("A", "AAAA"))
    assert sorted(ended) == list(range(150))
    assert all(ended[number].target == target for number, target, _ in targets)
    assert {kind for result in ended.values() for kind in kinds(result)} == {None}


def test_allow_belongs_to_its_target_alone(resolver: str, good: Server) -> None:
    target = Target("one.kc.test", good.port)
    ended = all_of([(0, target, ()), (1, target, LOOPBACK)], Outlook((resolver,)))
    assert (kinds(ended[0]), kinds(ended[1])) == ([FailureKind.REFUSED_ADDRESS], [None])


def test_an_error_of_our_own_costs_one_scan_and_is_logged(good: Server, caplog: pytest.LogCaptureFixture) -> None:
    targets = [
        (0, Target("one.kc.test", good.port, "gopher", "127.0.0.1"), LOOPBACK),
        (1, Target("ünï", good.port, address="127.0.0.1"), LOOPBACK),
        (2, Target("one.kc.test", 70_000, address="127.0.0.1"), LOOPBACK),
        (3, Target("one.kc.test", good.port, address="127.0.0.1"), LOOPBACK),
    ]
    with caplog.at_level(logging.ERROR):
        ended = all_of(targets, Outlook())
    for number in (0, 1, 2):
        assert kinds(ended[number]) == [FailureKind.PROTOCOL_ERROR]
        failure = only(ended[number]).failure
        assert failure is not None
        assert "KeyChest itself failed" in failure.message
    assert kinds(ended[3]) == [None]
    assert len([record for record in caplog.records if record.exc_info]) == 3


def test_leaving_early_leaves_nothing_behind(resolver: str) -> None:
    async def run(port: int) -> int:
        targets = [(number, Target("one.kc.test", port), LOOPBACK) for number in range(20)]
        scans = scan_all(targets, Outlook((resolver,)), now=now, in_flight=3)
        async with contextlib.aclosing(scans):
            async for _ in scans:
                break
        return len(asyncio.all_tasks())

    with raw_server(hang_up) as server:
        assert asyncio.run(run(server.port)) == 1


def test_no_targets_at_all() -> None:
    assert all_of([], Outlook()) == {}
