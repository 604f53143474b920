"""Two certificates of one name, one for each kind of key: both are fetched, like is compared with like, and one left behind is told."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pytest
from OpenSSL import SSL

from core.scanner.facts import Finding, Observation, OtherKey, Scan, Severity, Target, Tls
from core.scanner.handshake import ECDSA, RSA, Budget
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_target
from core.scanner.summary import summarise
from core.scanner.verdict import Verdict, judge
from demo.pki import DAY, Chain, Forged, make_chain, make_root
from tests.servers import Server, raw_server, silent_after, tls_server

NAME: Final = "one.kc.test"
NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"),)
RSA_FIRST: Final = b"aRSA:ALL:@SECLEVEL=0"


@pytest.fixture(scope="module")
def root() -> Forged:
    return make_root()


@pytest.fixture(scope="module")
def ec(root: Forged) -> Chain:
    return make_chain([NAME], root=root)


@pytest.fixture(scope="module")
def rsa(root: Forged) -> Chain:
    return make_chain([NAME], root=root, key="rsa2048", usage=("digital_signature", "key_encipherment"))


@pytest.fixture(scope="module")
def both(ec: Chain, rsa: Chain) -> Iterator[Server]:
    with tls_server(ec.pem, ec.key_pem, beside=(rsa.pem, rsa.key_pem)) as server:
        yield server


def scan(port: int, other_key: OtherKey = OtherKey.ASKED) -> Scan:
    target = Target(NAME, port, address="127.0.0.1", other_key=other_key)
    outlook = Outlook(budget=Budget(handshake_s=0.5))
    return asyncio.run(scan_target(target, outlook, allow=LOOPBACK, now=lambda: datetime.now(UTC)))


def test_both_are_fetched_each_with_its_own_chain(both: Server, ec: Chain, rsa: Chain) -> None:
    before = both.connections
    first, second = scan(both.port).observations
    assert (first.key_asked, first.chain) == ("", ec.ders)
    assert (second.key_asked, second.chain) == (RSA, rsa.ders)
    assert first.tls is not None
    assert second.tls is not None
    assert first.tls.version == second.tls.version == "TLSv1.3"
    assert both.connections - before == 2


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_2_VERSION])
def test_old_protocols_pick_by_the_cipher(version: int, ec: Chain, rsa: Chain) -> None:
    with tls_server(ec.pem, ec.key_pem, beside=(rsa.pem, rsa.key_pem), maximum=version, ciphers=RSA_FIRST) as server:
        first, second = scan(server.port).observations
    assert (first.key_asked, first.chain) == ("", rsa.ders)
    assert (second.key_asked, second.chain) == (ECDSA, ec.ders)


def test_it_is_asked_for_only_where_that_is_wanted(both: Server, ec: Chain) -> None:
    before = both.connections
    (seen,) = scan(both.port, OtherKey.LEFT).observations
    assert seen.chain == ec.ders
    assert both.connections - before == 1


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_one_that_has_a_single_certificate_is_seen_once_and_nothing_is_told(kind: str, version: int, root: Forged) -> None:
    chain = make_chain([NAME], root=root, key=kind)
    with tls_server(chain.pem, chain.key_pem, maximum=version) as server:
        result = scan(server.port, OtherKey.EXPECTED)
        assert server.connections == 2
    assert [(seen.key_asked, seen.chain) for seen in result.observations] == [("", chain.ders)]
    assert not result.partial


@pytest.mark.slow
@pytest.mark.parametrize(("other_key", "partial"), [(OtherKey.EXPECTED, True), (OtherKey.ASKED, False)])
def test_silence_leaves_open_only_what_was_there_before(other_key: OtherKey, partial: bool, ec: Chain) -> None:
    with raw_server(silent_after(ec.pem, ec.key_pem, turns=1)) as server:
        result = scan(server.port, other_key)
    assert [(seen.key_asked, seen.chain) for seen in result.observations] == [("", ec.ders)]
    assert result.partial is partial


def seen_at(address: str, chain: Chain, key_asked: str = "") -> Observation:
    return Observation(address, "local", tls=Tls("TLSv1.3", "", "", ""), chain=chain.ders, key_asked=key_asked)


def verdict(root: Forged, *seen: Observation) -> Verdict:
    return judge(Scan(Target(NAME), NOW, (), seen), Roots.of([root.certificate]), NOW)


def chain_of(root: Forged, key: str, began: int, ends: int) -> Chain:
    """Begun so many days ago, ending in so many."""
    return make_chain([NAME], root=root, key=key, not_before=NOW - began * DAY, not_after=NOW + ends * DAY, now=NOW)


def told(found: Verdict) -> list[Finding]:
    return [finding for finding in found.findings if finding.check == "CERT-PAIR"]


@pytest.mark.parametrize(
    ("began", "ends", "severity", "verb"), [(61, 29, Severity.MEDIUM, "ends on 19 Dec"), (95, -5, Severity.HIGH, "ended on 15 Nov")]
)
def test_one_renewed_and_the_other_not_is_told_of_the_one_left_behind(
    began: int, ends: int, severity: Severity, verb: str, root: Forged
) -> None:
    fresh, old = chain_of(root, "p256", 2, 88), chain_of(root, "rsa2048", began, ends)
    for first, second, kind in ((fresh, old, RSA), (old, fresh, ECDSA)):
        found = verdict(root, seen_at("192.0.2.1", first), seen_at("192.0.2.1", second, kind))
        (finding,) = told(found)
        assert (finding.severity, finding.certificate) == (severity, found.addresses[0 if first is old else 1].observation.chain_sha256[0])
        assert finding.message.startswith("The RSA certificate was not renewed with the ECDSA one: it " + verb)
        assert finding.message.endswith("2026, the other on 16 Feb 2027.")
        assert summarise(found).ends_at == NOW + ends * DAY


def test_one_that_lives_much_longer_is_told_when_a_sixth_is_left(root: Forged) -> None:
    pair = seen_at("192.0.2.1", chain_of(root, "p256", 2, 88)), seen_at("192.0.2.1", chain_of(root, "rsa2048", 335, 63), RSA)
    assert [finding.severity for finding in told(verdict(root, *pair))] == [Severity.MEDIUM]


@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 88), (3, 87)), ((30, 60), (2, 88)), ((61, 29), (62, 28)), ((29, 59), (61, 300)), ((2, 88), (270, 128))],
    ids=["renewed together", "neither is due", "both are due", "the older lives longer", "bought for a year"],
)
def test_a_pair_that_is_well_kept_is_no_finding(first: tuple[int, int], second: tuple[int, int], root: Forged) -> None:
    pair = seen_at("192.0.2.1", chain_of(root, "p256", *first)), seen_at("192.0.2.1", chain_of(root, "rsa2048", *second), RSA)
    assert told(verdict(root, *pair)) == []


def test_every_rule_looks_at_the_second_certificate_too(root: Forged) -> None:
    good = chain_of(root, "p256", 2, 88)
    other = make_chain(["else.kc.test"], root=root, key="rsa1024", not_before=NOW - 2 * DAY, not_after=NOW + 88 * DAY, now=NOW)
    found = verdict(root, seen_at("192.0.2.1", good), seen_at("192.0.2.1", other, RSA))
    assert {"CERT-NAME", "CERT-KEY-RSA"} <= {finding.check for finding in found.findings}
    assert [judged.verified for judged in found.addresses] == [True, False]
    assert summarise(found).state == "bad"


def test_like_is_compared_with_like_at_several_addresses(root: Forged) -> None:
    ec, rsa = chain_of(root, "p256", 2, 88), chain_of(root, "rsa2048", 2, 88)
    newer = chain_of(root, "rsa2048", 1, 89)
    here, there = "192.0.2.1", "192.0.2.2"
    pair = seen_at(here, ec), seen_at(here, rsa, RSA)

    def differing(*others: Observation) -> list[str]:
        return [finding.address for finding in verdict(root, *pair, *others).findings if finding.check == "CERT-DIFFER"]

    assert differing(seen_at(there, ec), seen_at(there, rsa, RSA)) == []
    assert differing(seen_at(there, rsa)) == []
    assert differing(seen_at(there, ec)) == []
    assert [each.check for each in verdict(root, seen_at(there, rsa), *pair).findings if each.check == "CERT-DIFFER"] == []
    assert differing(seen_at(there, ec), seen_at(there, newer, RSA)) == [there]
    alone = verdict(root, seen_at(here, ec), seen_at(there, rsa))
    assert [finding.address for finding in alone.findings if finding.check == "CERT-DIFFER"] == [there]


def test_addresses_are_counted_once(root: Forged) -> None:
    pair = seen_at("192.0.2.1", chain_of(root, "p256", 2, 88)), seen_at("192.0.2.1", chain_of(root, "rsa2048", 2, 88), RSA)
    assert verdict(root, *pair).scan.addresses == 1
