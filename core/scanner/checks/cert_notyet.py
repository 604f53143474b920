"""RFC 5280 4.1.2.5 (validity): a certificate counts for nothing before its first second.

Says: the certificate begins in the future, and when.
Why: until then browsers refuse it just as they refuse an ended one.
Do: put the former certificate back until then, or have it issued with an earlier start; check the clock of the machine that issued it.
Limits: up to five minutes are forgiven, since clocks differ.
"""

from __future__ import annotations

from core.scanner.diagnosis import PathTrouble
from core.scanner.facts import Finding, Severity
from core.scanner.path import SKEW
from core.scanner.subject import Subject
from core.scanner.wording import day, span, subject_of

ID = "CERT-NOTYET"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ("not_before",)


def applies(_subject: Subject) -> bool:
    """Every certificate begins."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding: the leaf, or else the authority that breaks the path."""
    cert, skew = subject.leaf, SKEW
    if (
        not (cert.not_before and cert.not_before > subject.now + skew)
        and subject.path.trouble is PathTrouble.NOT_YET_VALID
        and subject.path.at
    ):
        cert, skew = subject.path.at, SKEW * 0
    if cert.not_before is None or cert.not_before <= subject.now + skew:
        return ()
    wait = cert.not_before - subject.now
    return (
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} begins on {day(cert.not_before)} at {cert.not_before:%H:%M} UTC, {span(wait)} from now.",
            cause="It was put into use before its first day, or the clock of the machine that issued it runs ahead.",
            fix="Use the former certificate until then, or have this one issued again. Check the clock of the machine that issued it.",
            about=cert,
            evidence={"not_before": cert.not_before.isoformat(), "hours_left": int(wait.total_seconds()) // 3600},
        ),
    )
