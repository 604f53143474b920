"""BR 7.1.2.7.10 (extendedKeyUsage of a server's certificate): serverAuth must be there, anyExtendedKeyUsage must not.

Says: what the certificate says it is for, where that is not "a server" or is "anything"; for information, where it is also for clients.
Why: browsers refuse a certificate that is not meant for servers; one for anything can be misused elsewhere.
Do: have it issued with the profile for TLS servers (serverAuth).
Limits: for every certificate with a path. Public authorities leave clientAuth out since 2026, so programs that use it towards
  others need another certificate.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import listed

ID = "CERT-EKU"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("extended_key_usage",)
SERVER, CLIENT, ANYTHING = "serverAuth", "clientAuth", "anyExtendedKeyUsage"


def applies(subject: Subject) -> bool:
    """Leaves that lead to a root of ours."""
    return subject.path.anchored


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    uses = subject.leaf.extended_key_usage
    if uses is None:
        severity, message = SEVERITY, "This certificate does not say what it is for; one for a server must say so (serverAuth)."
    elif ANYTHING in uses:
        severity, message = SEVERITY, "This certificate says that it may be used for anything, which one for a server must not."
    elif SERVER not in uses:
        severity, message = SEVERITY, f"This certificate is not meant for servers; it is for {listed(uses)}."
    elif CLIENT in uses:
        severity, message = Severity.INFO, "This certificate may also be used by a client (clientAuth)."
    else:
        return ()
    bad = severity is SEVERITY
    return (
        subject.finding(
            ID,
            severity,
            message,
            cause="It was issued by a profile that is not the one for TLS servers. Browsers and other programs may refuse it."
            if bad
            else "That is allowed, but public authorities have stopped issuing such certificates.",
            fix="Have it issued again for TLS server authentication (serverAuth)."
            if bad
            else "Nothing has to be done here. If a program uses it to sign in elsewhere, plan another certificate for that.",
            evidence={"uses": list(uses or ())},
        ),
    )
