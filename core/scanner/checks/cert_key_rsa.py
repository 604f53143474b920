"""BR 6.1.5 and 6.1.6 (RSA keys): at least 2048 bits, a multiple of 8, with an odd exponent of 3 or more.

Says: which key of the chain is too short or malformed; for information, where the server's own is over 4096 bits.
Why: a short key can be computed from the certificate, and then anybody can pose as the server. A very long one only costs time.
Do: make a new key (RSA 2048 or EC P-256) and have a certificate issued for it.
Limits: the key's numbers are not tested for other weaknesses (shared factors, predictable generators).
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.strength import rsa_weakness
from core.scanner.subject import Subject
from core.scanner.wording import subject_of

ID = "CERT-KEY-RSA"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ()
SLOW_BITS = 4096


def applies(subject: Subject) -> bool:
    """Chains with an RSA key somewhere."""
    return any(cert.key_kind == "RSA" for cert in (subject.leaf, *subject.path.walk))


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each weak key, and one for a needlessly long one."""
    weak = tuple(
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} has {why}.",
            cause="Such a key can be broken, and then anybody can pose as this server. Browsers refuse it.",
            fix="Make a new key, EC P-256 or RSA 2048, and have a certificate issued for it.",
            about=cert,
            evidence={"key": cert.key or "", "exponent": str(cert.key_exponent)},
        )
        for cert in subject.path.walk or (subject.leaf,)
        if (why := rsa_weakness(cert))
    )
    leaf = subject.leaf
    if weak or leaf.key_kind != "RSA" or leaf.key_bits is None or leaf.key_bits <= SLOW_BITS:
        return weak
    slow = subject.finding(
        ID,
        Severity.INFO,
        f"This certificate's RSA key of {leaf.key_bits} bits is longer than is useful.",
        cause="Every connection takes longer to begin, and the server does more work, without being safer in practice.",
        fix="Nothing has to be done. At the next renewal, EC P-256 or RSA 2048 to 4096 is enough.",
        evidence={"key": leaf.key or ""},
    )
    return (slow,)
