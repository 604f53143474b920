"""RFC 5280 6.1 (path validation): the chain must lead to a root that is trusted, by rules that every certificate in it keeps.

Says: the chain ends at an authority that is not trusted here, or breaks a rule of path validation, and which.
Why: browsers trust only the authorities in their stores, so visitors see a warning.
Do: use a public authority, or add your own one's root to KEYCHEST_EXTRA_ROOTS; where a rule is broken, have the certificate issued again.
Limits: judged by Mozilla's roots and the operator's own, in certifi's edition; other systems' stores differ a little.
"""

from __future__ import annotations

from core.scanner.diagnosis import PathTrouble
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import short, subject_of

ID = "CERT-UNTRUSTED"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ()


def applies(_subject: Subject) -> bool:
    """Every certificate."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    at = subject.path.at or subject.leaf
    if subject.path.trouble is PathTrouble.UNTRUSTED_ROOT:
        return (
            subject.finding(
                ID,
                SEVERITY,
                f"The chain leads to “{short(at.subject)}”, an authority that is not trusted here.",
                cause="It is a private authority, or a public one that browsers no longer trust.",
                fix="Have a certificate issued by a public authority. If this one is your own, add its root to KEYCHEST_EXTRA_ROOTS.",
                about=at,
                evidence={"root": at.subject or "", "root_sha256": at.sha256},
            ),
        )
    if subject.path.trouble is not PathTrouble.OTHER:
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            f"No trusted path can be built from this certificate: {_plain(subject, subject.path.reason)}.",
            cause="Every certificate in the chain must keep the rules by which trust is handed on. One of them does not.",
            fix="Have the certificate issued again, and install it with the full chain file that comes with it (often fullchain.pem).",
            about=at,
            evidence={"reason": subject.path.reason, "at": subject_of(at, subject.leaf)},
        ),
    )


def _plain(subject: Subject, reason: str) -> str:
    """The judge's text without its wrapping, which stays in the evidence."""
    text = reason.removeprefix("validation failed: ").removeprefix("candidates exhausted: ")
    return text.partition(" (encountered")[0].rstrip(".") or f"{subject.name} cannot be verified"
