"""RFC 9525 6 (verifying service identity): the name asked for must be among the certificate's names.

Says: which names the certificate is for, when the watched one is not among them.
Why: a certificate for another name is what an impostor would show, so browsers stop.
Do: have it issued with this name too, or configure the server to choose the right certificate for this name (SNI, the virtual host).
Limits: the subject's CN is ignored, as browsers do; a wildcard stands for one whole label on the left, and two labels must follow it.
"""

from __future__ import annotations

from core.scanner.facts import Finding, Severity
from core.scanner.identity import name_matches
from core.scanner.subject import Subject
from core.scanner.wording import listed

ID = "CERT-NAME"
SEVERITY = Severity.CRITICAL
NEEDS: tuple[str, ...] = ("sans",)
EVIDENCE_MAX = 20


def applies(subject: Subject) -> bool:
    """A certificate without any names is CERT-NOSAN's."""
    return bool(subject.leaf.sans or subject.leaf.other_sans) or "sans" in subject.leaf.unreadable


def run(subject: Subject) -> tuple[Finding, ...]:
    """At most one finding."""
    names = subject.leaf.sans or subject.leaf.other_sans
    if name_matches(subject.leaf.sans, subject.name):
        return ()
    return (
        subject.finding(
            ID,
            SEVERITY,
            f"This certificate is not for {subject.name}; it is for {listed(names)}.",
            cause="The server answered with another site's certificate, often its default one or that of a neighbour on the same machine.",
            fix=f"Have a certificate issued that lists {subject.name}, or set the server up to choose the right one for this name.",
            evidence={"names": list(names[:EVIDENCE_MAX]), "count": len(names)},
        ),
    )
