"""BR 7.1.2.7.11 (keyUsage of a server's certificate): a server's key does not sign certificates.

Says: the server's key is allowed to sign certificates (keyCertSign) though it is not marked as an authority's.
Why: browsers refuse it as contradictory, and some programs might take it for an authority's.
Do: have it issued with the profile for TLS servers (digitalSignature; keyEncipherment with RSA).
Limits: for every certificate with a path; one that is marked as an authority's is CERT-BC's.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject

ID = "CERT-KU"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("key_usage",)


def applies(subject: Subject) -> bool:
    """Leaves that lead to a root of ours, and are not CERT-BC's."""
    return subject.path.anchored and not subject.leaf.is_ca


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    uses = subject.leaf.key_usage or ()
    if "keyCertSign" not in uses:
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            "This server's key is allowed to sign certificates, which only an authority's may.",
            cause="It was issued by a profile that is not the one for TLS servers. Browsers refuse it.",
            fix="Have it issued again with the usages of a server: digitalSignature, and keyEncipherment for RSA keys.",
            evidence={"uses": list(uses)},
        ),
    )
