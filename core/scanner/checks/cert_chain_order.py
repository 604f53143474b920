"""RFC 5246 7.4.2 (each certificate must certify the one before it): the chain is sent in order, the leaf first.

Says: the certificates are all there, in the wrong order.
Why: TLS 1.3 forgives it and browsers sort it out, but older programs and appliances fail.
Do: put the files together again in order: the server's own, its issuer's, that one's issuer's.
Limits: certificates that do not belong to the chain are not looked at here.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import short

ID = "CERT-CHAIN-ORDER"
SEVERITY = Severity.LOW
NEEDS: tuple[str, ...] = ()
ORDERABLE = 3


def applies(subject: Subject) -> bool:
    """With fewer than three, only one order is possible."""
    return len(subject.chain) >= ORDERABLE


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    places = [subject.chain.index(cert) for cert in subject.path.walk if cert in subject.chain]
    if places == sorted(places):
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            "The server sends its chain in the wrong order.",
            cause="The certificates were put together in another order than each one followed by its issuer. Older programs fail on it.",
            fix="Put the chain file together again: the server's own certificate, its issuer's, and so on; or install fullchain.pem.",
            evidence={
                "served": [short(cert.subject) for cert in subject.chain],
                "expected": [short(cert.subject) for cert in subject.path.walk],
            },
        ),
    )
