"""BR 7.1.3.2 (permitted signature algorithms): MD5 and older hashes may not sign anything.

Says: which certificate of the chain is signed with MD5, MD4 or MD2.
Why: a forged authority was made from an MD5 signature in 2008; making one takes seconds now.
Do: have the certificate issued again, at once, by an authority that signs with SHA-256.
Limits: a root's own signature does not count: it is trusted as it stands.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.strength import BROKEN_HASHES, signature_weakness
from core.scanner.subject import Subject
from core.scanner.wording import subject_of

ID = "CERT-SIG-MD5"
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
            f"{subject_of(cert, subject.leaf)} is signed with {hash_name.upper()}, which anybody can forge.",
            cause="A signature over such a hash proves nothing: forging one takes seconds.",
            fix="Have the certificate issued again with SHA-256, and install it with the full chain file (often fullchain.pem).",
            about=cert,
            evidence={"signature": cert.signature or ""},
        )
        for cert in subject.relied_on
        if (hash_name := signature_weakness(cert)) in BROKEN_HASHES
    )
