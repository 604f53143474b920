"""BR 7.1.2.7.8 (basicConstraints of a server's certificate): a server's certificate is not an authority's.

Says: the server's own certificate is marked as that of an authority (CA).
Why: whoever has its key could issue certificates for any name; browsers refuse it as a server's certificate.
Do: have a certificate issued for the server from the profile for TLS servers, and keep the authority's key off the server.
Limits: for every certificate with a path; a self-signed one is CERT-SELF-SIGNED's.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject

ID = "CERT-BC"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("is_ca",)


def applies(subject: Subject) -> bool:
    """Leaves that lead to a root of ours."""
    return subject.path.anchored


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    if not subject.leaf.is_ca:
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            "This server's certificate is marked as that of an authority (CA).",
            cause="It was issued by the wrong profile, or an authority's own certificate was installed in the server.",
            fix="Have a certificate issued for the server alone. If this is really an authority's, take its key off the server.",
        ),
    )
