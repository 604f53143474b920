"""BR 7.1.3.2.1 (SHA-1 may not sign, its last uses end on 2026-09-15): signatures rest on SHA-256 or better.

Says: which certificate of the chain is signed with SHA-1.
Why: two documents with the same SHA-1 were made in 2017, so such a signature can be moved to a forged certificate; browsers refuse it.
Do: have the certificate issued again; every authority signs with SHA-256 by now. Where it is an intermediate, install the current one.
Limits: a root's own signature does not count: it is trusted as it stands.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.strength import signature_weakness
from core.scanner.subject import Subject
from core.scanner.wording import subject_of

ID = "CERT-SIG-SHA1"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ("signature_hash",)


def applies(_subject: Subject) -> bool:
    """Every certificate is signed."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each certificate that is relied on."""
    return tuple(
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} is signed with SHA-1, which has been broken.",
            cause="A signature over SHA-1 can be moved to a forged certificate, so browsers refuse it.",
            fix="Have the certificate issued again with SHA-256, and install it with the full chain file (often fullchain.pem).",
            about=cert,
            evidence={"signature": cert.signature or ""},
        )
        for cert in subject.relied_on
        if signature_weakness(cert) == "sha1"
    )
