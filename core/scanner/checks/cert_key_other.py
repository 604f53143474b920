"""BR 6.1.1.3 and 6.1.5 (subscriber keys): RSA or ECDSA, and no other.

Says: which key of the chain is of a kind that hardly any program can use for TLS, DSA for one.
Why: what nobody can use cannot be connected to, however well it is signed; the certificate itself verifies all the same.
Do: make a new EC key on P-256 and have a certificate issued for it.
Limits: Ed25519 and Ed448 are let pass, since programs other than browsers take them.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.strength import kind_weakness
from core.scanner.subject import Subject
from core.scanner.wording import subject_of

ID = "CERT-KEY-OTHER"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ()


def applies(subject: Subject) -> bool:
    """Chains with a key of yet another kind somewhere."""
    return any(kind_weakness(cert) for cert in (subject.leaf, *subject.path.walk))


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each such key."""
    return tuple(
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} has {why}.",
            cause="Browsers know RSA and EC keys only, so visitors cannot connect.",
            fix="Make a new EC key on P-256 and have a certificate issued for it.",
            about=cert,
            evidence={"key": cert.key or ""},
        )
        for cert in subject.path.walk or (subject.leaf,)
        if (why := kind_weakness(cert))
    )
