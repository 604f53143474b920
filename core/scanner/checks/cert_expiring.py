"""BR 6.3.2 (certificates live ever shorter) and our own rule: a certificate is due when a third of its lifetime is left.

Says: how much is left, when less than 1/3 (low), 1/6 (medium) or 1/12 (high) of the certificate's own lifetime remains; high also
  under 3 days where it lives for more than 30.
Why: a fixed "30 days" would be most of the life of a 47-day certificate and all of that of a 6-day one.
Do: renew it; where renewal is automatic, find out why it has not happened at 1/3.
Limits: only the leaf is looked at. The certificate may already be renewed and just not loaded into the server.
"""

from __future__ import annotations

from datetime import timedelta

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import day, span

ID = "CERT-EXPIRING"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("not_before", "not_after")

STEPS = ((12, Severity.HIGH, "1/12"), (6, Severity.MEDIUM, "1/6"), (3, Severity.LOW, "1/3"))
SOON, LONG_LIFE = timedelta(days=3), timedelta(days=30)


def applies(subject: Subject) -> bool:
    """Only what is valid now can be about to end."""
    leaf = subject.leaf
    return bool(set(NEEDS) & set(leaf.unreadable)) or bool(
        leaf.not_after and leaf.not_before and leaf.not_before <= subject.now <= leaf.not_after
    )


def run(subject: Subject) -> tuple[Finding, ...]:
    """The worst step that is passed."""
    begin, end = subject.leaf.not_before, subject.leaf.not_after
    if not begin or not end:
        return ()
    life, left = end - begin, end - subject.now
    soon = left < SOON and life > LONG_LIFE
    passed = [(severity, step) for parts, severity, step in STEPS if left * parts < life or (soon and severity is SEVERITY)]
    if not passed:
        return ()
    severity, step = passed[0]
    share = f"under {span(SOON)}" if soon and left * STEPS[0][0] >= life else f"less than {step}"
    return (
        subject.finding(
            ID,
            severity,
            f"This certificate ends on {day(end)}, in {span(left)}; {share} of its {span(life)} is left.",
            cause="Renewal normally happens well before this, so it may have failed, or the new certificate may not have been loaded.",
            fix="Renew the certificate and reload the server. If renewal is automatic, look at its last run first.",
            evidence={
                "step": step,
                "not_after": end.isoformat(),
                "days_left": left.days,
                "hours_left": int(left.total_seconds()) // 3600,
            },
        ),
    )
