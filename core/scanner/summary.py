"""One sentence and one state for an endpoint, from all that was judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.scanner.facts import Finding, Severity, Status
from core.scanner.verdict import JudgedObservation, Verdict

EXPIRING = "CERT-EXPIRING"
_WORST = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Summary:
    """How an endpoint stands: "bad", "soon", "unk" or "ok"; the end of the first certificate to end (None: none seen); a sentence."""

    state: str
    ends_at: datetime | None
    sentence: str


def summarise(verdict: Verdict) -> Summary:
    """The state by the worst finding, and a sentence that names it. What was not reached is never shown as well."""
    seen = [address for address in verdict.addresses if address.leaf is not None]
    ends_at = min((leaf.not_after for leaf in (address.leaf for address in seen) if leaf and leaf.not_after), default=None)
    if not seen:
        return Summary("unk", None, _not_reached(verdict))
    findings = sorted(verdict.findings, key=lambda finding: (finding.unknown, _WORST.index(finding.severity)))
    state = state_of(findings)
    failed = [address for address in verdict.addresses if address.observation.failure is not None]
    if state == "ok" and failed:
        return Summary("soon", ends_at, f"{len(failed)} of {len(verdict.addresses)} addresses did not answer: {_message(failed[0])}")
    if state == "ok":
        return Summary("ok", ends_at, f"Well until {day(ends_at)}." if ends_at else "Well.")
    return Summary(state, ends_at, _worst(findings, len(verdict.addresses)))


def state_of(findings: list[Finding]) -> str:
    """Bad for an error, soon for a warning or an end that comes near, else ok."""
    if any(finding.status is Status.ERROR for finding in findings):
        return "bad"
    if any(finding.status is Status.WARN or finding.check == EXPIRING for finding in findings):
        return "soon"
    return "ok"


def day(moment: datetime | None) -> str:
    """A date as people write it: 28 Nov 2026."""
    return f"{moment.day} {moment:%b %Y}" if moment else "an unknown date"


def _worst(findings: list[Finding], addresses: int) -> str:
    worst = next((f for f in findings if f.status is Status.ERROR), None) or next(
        f for f in findings if f.status is Status.WARN or f.check == EXPIRING
    )
    at = {finding.address for finding in findings if finding.check == worst.check}
    if addresses == 1 or len(at) == addresses or not worst.address:
        return worst.message
    return f"At {len(at)} of {addresses} addresses: {worst.message}"


def _not_reached(verdict: Verdict) -> str:
    messages = list(dict.fromkeys(_message(address) for address in verdict.addresses))
    if len(messages) == 1:
        return messages[0]
    return f"None of {len(verdict.addresses)} addresses answered. {messages[0]}"


def _message(address: JudgedObservation) -> str:
    failure = address.observation.failure
    return failure.message if failure else ""
