"""RFC 5280 3.2 (a self-signed certificate is its own issuer): nobody else vouches for it.

Says: the server's own certificate is signed by itself.
Why: anybody can make such a certificate for any name, so browsers warn.
Do: have one issued by a public authority (free ones do it by ACME), or by your own, whose root you add to KEYCHEST_EXTRA_ROOTS.
Limits: adding the self-signed certificate itself to KEYCHEST_EXTRA_ROOTS does not help: that file is for authorities.
"""

from __future__ import annotations

from core.scanner.diagnosis import PathTrouble
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import short

ID = "CERT-SELF-SIGNED"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ()


def applies(_subject: Subject) -> bool:
    """Every certificate has an issuer."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    if subject.path.trouble is not PathTrouble.SELF_SIGNED:
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            "This certificate is signed by itself, so nobody else vouches for it.",
            cause="It is often the certificate that a server or an appliance makes for itself when it is installed.",
            fix="Install a certificate from a public authority, or from your own one whose root is in KEYCHEST_EXTRA_ROOTS.",
            evidence={"subject": short(subject.leaf.subject)},
        ),
    )
