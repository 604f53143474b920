"""RFC 5280 4.1.2.5 (validity): a certificate counts for nothing after its last second.

Says: the certificate, or one of the authorities' that it depends on, has ended, when, and how long ago.
Why: browsers show a full-page warning and most programs refuse to connect.
Do: renew it and load the new one into the server; where an authority's certificate has ended, install the chain that came with the
  newest certificate.
Limits: an authority's certificate is only reported where it breaks the path; another, valid path may exist that this server does
  not offer.
"""

from __future__ import annotations

from core.scanner.diagnosis import PathTrouble
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import day, span, subject_of

ID = "CERT-EXPIRED"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ("not_after",)


def applies(_subject: Subject) -> bool:
    """Every certificate ends."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding: the leaf, or else the authority that breaks the path."""
    cert = subject.leaf
    if not (cert.not_after and cert.not_after < subject.now) and subject.path.trouble is PathTrouble.EXPIRED and subject.path.at:
        cert = subject.path.at
    if cert.not_after is None or cert.not_after >= subject.now:
        return ()
    ago = subject.now - cert.not_after
    renewal = "Renew the certificate and load the new one into the server."
    chain = "Install the full chain file that came with your newest certificate (often fullchain.pem), or move to another authority."
    return (
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} ended on {day(cert.not_after)}, {span(ago)} ago.",
            cause="Browsers and other programs refuse a certificate after its last day, so visitors see a warning instead of the site.",
            fix=(renewal if cert == subject.leaf else chain) + " Then find out why the renewal did not happen by itself.",
            about=cert,
            evidence={"not_after": cert.not_after.isoformat(), "days_ago": ago.days},
        ),
    )
