"""BR 7.1.2.7.12 and RFC 9525 2 (subjectAltName): a server's certificate lists its names in subjectAltName.

Says: the certificate has no such list.
Why: browsers stopped reading names from the subject's CN in 2017, so for them it is for no name at all.
Do: have it issued again with the names in subjectAltName; with OpenSSL: `-addext "subjectAltName=DNS:www.example.com"`.
Limits: some old programs still accept the CN, so it may seem to work.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject

ID = "CERT-NOSAN"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ("sans",)


def applies(_subject: Subject) -> bool:
    """Every certificate of a server."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    if subject.leaf.sans or subject.leaf.other_sans:
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            "This certificate lists no names, so browsers take it for no site at all.",
            cause="It has no subjectAltName. The common name in its subject is no longer read.",
            fix=f"Have it issued again with a subjectAltName that lists {subject.name}.",
            evidence={"subject": subject.leaf.subject or ""},
        ),
    )
