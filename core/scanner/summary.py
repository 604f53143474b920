"""One sentence and one state for an endpoint, from all that was judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from core.scanner.facts import Finding, Severity, Status
from core.scanner.verdict import JudgedObservation, Verdict
from core.scanner.wording import key_word

EXPIRING, PAIR = "CERT-EXPIRING", "CERT-PAIR"
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
    findings = worst_first(verdict.findings)
    state = state_of(findings)
    failed = [address for address in verdict.addresses if address.observation.failure is not None]
    if state == "ok" and failed:
        return Summary("soon", ends_at, f"{len(failed)} of {verdict.scan.addresses} addresses did not answer: {_message(failed[0])}")
    if state == "ok":
        return Summary("ok", ends_at, f"Well until {day(ends_at)}." if ends_at else "Well.")
    return Summary(state, ends_at, _worst(findings, verdict))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order in which people should read them; what is unknown comes last."""
    return sorted(findings, key=lambda finding: (finding.unknown, _WORST.index(finding.severity)))


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


def _worst(findings: list[Finding], verdict: Verdict) -> str:
    worst = next((f for f in findings if f.status is Status.ERROR), None) or next(
        f for f in findings if f.status is Status.WARN or f.check == EXPIRING
    )
    at = {finding.address for finding in findings if finding.check == worst.check}
    addresses = verdict.scan.addresses
    message = f"{_which(worst, verdict)}{worst.message}"
    if addresses == 1 or len(at) == addresses or not worst.address:
        return message
    return f"At {len(at)} of {addresses} addresses: {message}"


def _which(worst: Finding, verdict: Verdict) -> str:
    """Which of two certificates it is about, where one server has two and the finding does not say so itself."""
    leaves = [each.leaf for each in verdict.addresses if each.leaf is not None and each.observation.address == worst.address]
    own = next((leaf for leaf in leaves if leaf.sha256 == worst.certificate), None)
    if len(leaves) == 1 or own is None or own.key is None or worst.check == PAIR:
        return ""
    return f"Of two certificates here, the {key_word(own)} one: "


def _not_reached(verdict: Verdict) -> str:
    messages = list(dict.fromkeys(_message(address) for address in verdict.addresses))
    if len(messages) == 1:
        return messages[0]
    return f"None of {verdict.scan.addresses} addresses answered. {messages[0]}"


def _message(address: JudgedObservation) -> str:
    failure = address.observation.failure
    return failure.message if failure else ""
