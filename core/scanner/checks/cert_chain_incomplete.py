"""RFC 8446 4.4.2 (certificate list) and SSL Labs: the server sends every certificate between its own and the root.

Says: whose certificate is missing, where the chain ends at an issuer that is neither sent nor known here.
Why: some browsers fetch or remember missing certificates and others do not, so it works for some visitors and fails for others, and
  for most programs.
Do: install the full chain file (`fullchain.pem`) instead of the certificate alone (`cert.pem`).
Limits: a private authority whose root is not sent looks just the same; KeyChest does not fetch missing certificates.
"""

from __future__ import annotations

from core.scanner.diagnosis import PathTrouble
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import short

ID = "CERT-CHAIN-INCOMPLETE"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ()


def applies(subject: Subject) -> bool:
    """Only a chain that ends before it reaches anything."""
    return subject.path.trouble is PathTrouble.MISSING_INTERMEDIATE


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding, about the last certificate that is there."""
    last = subject.path.walk[-1]
    issuer = short(last.issuer)
    alone = last == subject.leaf
    what = (
        "The server sends its own certificate but not that of its issuer" if alone else "The server's chain stops before that of the issuer"
    )
    return (
        subject.finding(
            ID,
            SEVERITY,
            f"{what}, “{issuer}”.",
            cause="Most often the intermediate certificate was not installed. It may also be that the issuer is a private authority "
            "that is not known here. Some browsers cope with a missing intermediate; most other programs do not.",
            fix="Install the full chain file (often fullchain.pem) in place of the certificate alone, and reload the server. "
            "If the authority is your own, add its root to KEYCHEST_EXTRA_ROOTS.",
            about=last,
            evidence={"issuer": last.issuer or "", "served": len(subject.chain), "available_at": list(last.aia_ca_issuers)},
        ),
    )
