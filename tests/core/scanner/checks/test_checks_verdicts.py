"""Every check against forged chains: exactly the findings that are meant, in words that are plain."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from core.scanner.certificate import Certificate
from core.scanner.checks import CHECKS, cert_validity
from core.scanner.facts import Finding, Severity, Status, sha256
from core.scanner.path import VerifiedPath
from core.scanner.subject import Subject
from demo.pki import DAY, make_chain, make_leaf, make_root
from tests.core.scanner.checks.forged import CASES, NAME, NOW, Case, judged, verdict_on

BESIDE = {"CERT-DIFFER", "CERT-PAIR"}
"""Rules that need more than one chain: their verdicts are tested on their own."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_exactly_these_findings(case: Case) -> None:
    address = judged(case)
    assert {finding.check: finding.severity for finding in address.findings} == case.want
    assert len(address.findings) == len(case.want)
    assert not any(finding.unknown for finding in address.findings)
    assert case.says in " ".join(finding.message for finding in address.findings)
    if case.verified is not None:
        assert address.verified is case.verified
    if not address.verified:
        assert any(finding.status is Status.ERROR for finding in address.findings)
    for finding in address.findings:
        plain(finding)


def plain(finding: Finding) -> None:
    """One sentence says what is, others why and what to do; evidence is JSON; the certificate is named."""
    assert re.fullmatch(r"[A-Z1-9].*\.", finding.message)
    assert len(finding.message) < 300
    assert finding.cause.endswith(".")
    assert finding.fix.endswith(".")
    assert not re.search(r"\bNone\b|[{}]", finding.message + finding.cause + finding.fix)
    assert json.loads(json.dumps(finding.evidence)) == finding.evidence
    assert len(finding.certificate) == 64
    assert finding.address == "192.0.2.1"


def test_every_check_has_a_chain_for_its_pass_and_for_its_worst() -> None:
    given = {(check, severity) for case in CASES for check, severity in case.want.items()}
    severities = {check.ID: {severity for found, severity in given if found == check.ID} for check in CHECKS if check.ID not in BESIDE}
    assert {check.ID for check in CHECKS if check.ID in severities and check.SEVERITY not in severities[check.ID]} == set()
    assert severities["CERT-EXPIRING"] == {Severity.HIGH, Severity.MEDIUM, Severity.LOW}
    assert all(Severity.INFO in severities[check] for check in ("CERT-EKU", "CERT-VALIDITY", "CERT-KEY-RSA"))
    assert CASES[0].want == {}


def test_expiring_carries_step_days_and_hours() -> None:
    chain = make_chain([NAME], not_before=NOW - 85 * DAY, not_after=NOW + 5 * DAY, now=NOW)
    (finding,) = verdict_on(chain.root, chain.ders).findings
    assert {key: finding.evidence[key] for key in ("step", "days_left", "hours_left")} == {
        "step": "1/12",
        "days_left": 5,
        "hours_left": 120,
    }


@pytest.mark.parametrize(
    ("begin", "last_good", "first_bad"),
    [
        ("2029-03-15", 46, 47),
        ("2027-03-15", 99, 100),
        ("2029-03-14", 99, 100),
        ("2027-03-14", 199, 200),
        ("2026-03-14", 397, 398),
        ("2020-09-01", 397, 398),
        ("2020-08-31", 825, 825),
        ("2018-03-01", 825, 825),
    ],
)
def test_validity_is_judged_by_the_rules_of_its_own_day(begin: str, last_good: int, first_bad: int) -> None:
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    assert _validity(start, start + timedelta(days=last_good, seconds=-1)) == ()
    (finding,) = _validity(start, start + timedelta(days=first_bad))
    assert finding.severity is Severity.HIGH


@pytest.mark.parametrize(
    ("begin", "last", "bad"),
    [
        ("2018-02-28", "2021-05-28", True),
        ("2015-04-01", "2018-07-01", True),
        ("2015-03-31", "2020-03-31", True),
        ("2012-07-01", "2017-07-01", True),
        ("2012-06-30", "2037-06-30", False),
        ("2015-11-30", "2019-03-01", True),
    ],
)
def test_older_limits_are_in_months(begin: str, last: str, bad: bool) -> None:
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (begin, last))
    assert _validity(start, end) == ()
    assert bool(_validity(start, end + timedelta(seconds=1))) is bad


def _validity(begin: datetime, end: datetime) -> tuple[Finding, ...]:
    leaf = Certificate(sha256(b""), b"", not_before=begin, not_after=end)
    path = VerifiedPath(True, (leaf,), None, walk=(leaf,), anchored=True)
    (observation,) = verdict_on(make_root(), (b"x",)).scan.observations
    return cert_validity.run(Subject(observation, leaf, (leaf,), path, NAME, begin, ()))


def test_addresses_that_differ_are_told_at_the_odd_one() -> None:
    chain = make_chain([NAME], now=NOW)
    newer = make_leaf([NAME], chain.intermediates[0], now=NOW)
    other = (newer.der, chain.intermediates[0].der)
    same = verdict_on(chain.root, chain.ders, chain.ders)
    assert same.findings == ()
    two = verdict_on(chain.root, chain.ders, other)
    assert [(f.check, f.severity, f.address) for f in two.findings] == [("CERT-DIFFER", Severity.MEDIUM, "192.0.2.2")]
    assert two.findings[0].message == "192.0.2.2 serves another certificate than 192.0.2.1 does, one that ends on 19 Jan 2027."
    three = verdict_on(chain.root, other, chain.ders, chain.ders)
    assert [(f.check, f.address) for f in three.findings] == [("CERT-DIFFER", "192.0.2.1")]


def test_addresses_that_differ_are_grave_when_one_has_ended() -> None:
    chain = make_chain([NAME], now=NOW)
    ended = make_leaf([NAME], chain.intermediates[0], not_after=NOW - DAY, now=NOW)
    verdict = verdict_on(chain.root, chain.ders, (ended.der, chain.intermediates[0].der))
    assert {f.check: f.severity for f in verdict.findings} == {"CERT-EXPIRED": Severity.CRITICAL, "CERT-DIFFER": Severity.HIGH}
    assert "The one at 192.0.2.2 has ended." in verdict.findings[-1].message
