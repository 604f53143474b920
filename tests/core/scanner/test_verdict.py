"""A verdict covers every address, and no check, however broken, takes the scan with it."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.scanner.checks import CHECKS, RULESET
from core.scanner.facts import Failure, FailureKind, Finding, Observation, Scan, Severity, Stage, Status, Target
from core.scanner.path import Roots, VerifiedPath
from core.scanner.subject import Check, Subject
from core.scanner.verdict import examine, judge
from demo.pki import make_chain, make_root
from tests.core.scanner.checks.forged import CASES, NAME, NOW, judged, raw_extension, verdict_on
from tests.vectors import VECTORS, ders_of, needs


def test_an_address_without_a_certificate_is_kept_and_has_no_finding() -> None:
    chain = make_chain([NAME], now=NOW)
    failed = Observation("192.0.2.9", "local", failure=Failure(FailureKind.TIMEOUT, Stage.CONNECT, "No answer within 5 s."))
    good = verdict_on(chain.root, chain.ders).scan.observations[0]
    verdict = judge(Scan(Target(NAME), NOW, (), (failed, good)), Roots.of([chain.root.certificate]), NOW)
    first, second = verdict.addresses
    assert (first.leaf, first.path, first.chain, first.findings, first.verified) == (None, None, (), (), False)
    assert second.verified
    assert second.leaf is not None
    assert verdict.ruleset == RULESET
    assert verdict.scan.observations == (failed, good)


def test_the_same_facts_are_judged_anew_at_another_time() -> None:
    chain = make_chain([NAME], now=NOW)
    scan = verdict_on(chain.root, chain.ders).scan
    later = judge(scan, Roots.of([chain.root.certificate]), NOW.replace(year=2027))
    assert [finding.check for finding in later.findings] == ["CERT-EXPIRED"]


def subject(**leaf: object) -> Subject:
    address = judged(CASES[0])
    assert address.leaf is not None
    assert address.path is not None
    changed = replace(address.leaf, **leaf)  # type: ignore[arg-type]
    return Subject(address.observation, changed, address.chain, address.path, NAME, NOW, (("192.0.2.1", changed),))


def broken(_subject: Subject) -> tuple[Finding, ...]:
    raise LookupError("odd")


def test_a_check_that_raises_is_unknown_logged_and_alone(caplog: pytest.LogCaptureFixture) -> None:
    bad = cast("Check", SimpleNamespace(ID="CERT-BAD", SEVERITY=Severity.HIGH, NEEDS=(), applies=lambda _: True, run=broken))
    ended = subject(not_after=NOW.replace(year=2025))
    with caplog.at_level(logging.ERROR):
        found = examine(ended, (bad, *CHECKS))
    assert [(f.check, f.status) for f in found[:2]] == [("CERT-BAD", Status.UNKNOWN), ("CERT-EXPIRED", Status.ERROR)]
    assert found[0].message == "CERT-BAD could not be judged: the check itself failed (LookupError)."
    assert "check CERT-BAD failed" in caplog.text


def test_a_check_that_raises_on_whether_it_applies_is_unknown_too() -> None:
    bad = cast("Check", SimpleNamespace(ID="CERT-BAD", SEVERITY=Severity.HIGH, NEEDS=(), applies=broken, run=broken))
    assert [f.status for f in examine(subject(), (bad,))] == [Status.UNKNOWN]


def test_what_depends_on_an_unreadable_field_is_unknown_never_a_pass() -> None:
    found = {finding.check: finding.status for finding in examine(subject(not_after=None, unreadable=("not_after",)), CHECKS)}
    assert found == dict.fromkeys(("CERT-EXPIRED", "CERT-EXPIRING", "CERT-VALIDITY"), Status.UNKNOWN)


def test_unreadable_names_of_a_served_certificate_are_an_error() -> None:
    chain = make_chain([NAME], san=None, extensions=raw_extension("2.5.29.17", b"\x30\x03\x82\x05a"), now=NOW)
    found = {f.check: f.status for f in verdict_on(chain.root, chain.ders).findings}
    assert found == {
        "CERT-NAME": Status.UNKNOWN,
        "CERT-NOSAN": Status.UNKNOWN,
        "CERT-UNTRUSTED": Status.ERROR,
        "CERT-MALFORMED": Status.WARN,
    }


@pytest.mark.slow
@needs("oddcerts")
def test_no_odd_certificate_breaks_a_scan_or_passes_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    root = make_root(now=NOW)
    ders = [der for path in sorted((VECTORS / "oddcerts").iterdir()) for der in ders_of(path)]
    chains = [(der, ders[at - 1]) for at, der in enumerate(ders)]
    verdicts = [verdict_on(root, chain, name="www.example.com") for chain in chains]
    assert len(verdicts) > 350
    for verdict in verdicts:
        (address,) = verdict.addresses
        assert not address.verified
        assert any(finding.status is Status.ERROR for finding in address.findings)
        assert all(finding.message.isprintable() for finding in address.findings)
    assert "check " not in caplog.text


@pytest.mark.slow
def test_verified_paths_know_their_trouble() -> None:
    for case in CASES:
        path = judged(case).path
        assert isinstance(path, VerifiedPath)
        assert path.verified == (path.trouble is None)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, database=None)
@given(st.data())
def test_damaged_chains_are_judged_all_the_same(data: st.DataObject) -> None:
    ders = [bytearray(der) for der in GOOD.ders]
    for _ in range(data.draw(st.integers(1, 4))):
        der = data.draw(st.sampled_from(ders))
        der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    (address,) = verdict_on(GOOD.root, tuple(map(bytes, ders))).addresses
    assert address.verified or any(finding.status is Status.ERROR for finding in address.findings)
    assert not any(str(finding.evidence.get("why")).startswith("the check itself") for finding in address.findings if finding.unknown)


GOOD = make_chain([NAME], depth=2, now=NOW)
