"""BR 6.1.5 (ECDSA keys): on P-256, P-384 or P-521.

Says: which key of the chain is on another curve.
Why: browsers do not know other curves, so the connection fails; some of the old ones are also too weak.
Do: make a new key on P-256 and have a certificate issued for it.
Limits: Ed25519 and other kinds of keys are not judged here.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.strength import curve_weakness
from core.scanner.subject import Subject
from core.scanner.wording import subject_of

ID = "CERT-KEY-EC"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ()


def applies(subject: Subject) -> bool:
    """Chains with an elliptic curve key somewhere."""
    return any(cert.key_kind == "EC" for cert in (subject.leaf, *subject.path.walk))


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each such key."""
    return tuple(
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} has {why}.",
            cause="Browsers know only P-256, P-384 and P-521, so most visitors cannot connect.",
            fix="Make a new key on P-256 and have a certificate issued for it.",
            about=cert,
            evidence={"key": cert.key or ""},
        )
        for cert in subject.path.walk or (subject.leaf,)
        if (why := curve_weakness(cert))
    )
