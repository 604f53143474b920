"""KeyChest's own rule: of the RSA and the ECDSA certificate that a server keeps for one name, both are renewed.

Says: that one is due for renewal (a third of its lifetime is left, or less; a sixth where it lives more than twice as long as the
  other, since then the two are not renewed together) while the other was renewed; high where it has ended.
Why: most clients are shown the ECDSA certificate, so people see a fresh one, while older clients and some mail servers meet the other.
Do: renew the older one and load it beside the newer, or take it away where no client needs that kind of key any more.
Limits: the second certificate is asked for in a connection of its own, at every third scan as long as there is none. Servers that
  choose by something else than the kind of key that a client knows are seen with one certificate.
"""

from __future__ import annotations

from typing import Final

from core.scanner.certificate import Certificate
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import day, key_word

ID = "CERT-PAIR"
SEVERITY = Severity.HIGH
NEEDS: tuple[str, ...] = ("not_before", "not_after")
DUE, DUE_ALONE = 3, 6
"""The share of its lifetime that is left when a certificate is due: 1/3 as in CERT-EXPIRING, 1/6 where the two are of different kinds."""
ALIKE: Final = 2


def applies(subject: Subject) -> bool:
    """One of two certificates at the same address."""
    return subject.partner is not None


def run(subject: Subject) -> tuple[Finding, ...]:
    """About the one that was not renewed."""
    leaf, partner = subject.leaf, subject.partner
    if partner is None or not (leaf.not_before and leaf.not_after and partner.not_before and partner.not_after):
        return ()
    alike = leaf.not_after - leaf.not_before <= ALIKE * (partner.not_after - partner.not_before)
    if not _is_due(leaf, subject, DUE if alike else DUE_ALONE) or _is_due(partner, subject, DUE) or partner.not_before <= leaf.not_before:
        return ()
    over = leaf.not_after < subject.now
    return (
        subject.finding(
            ID,
            SEVERITY if over else Severity.MEDIUM,
            f"The {key_word(leaf)} certificate was not renewed with the {key_word(partner)} one: it {'ended' if over else 'ends'} on "
            f"{day(leaf.not_after)}, the other on {day(partner.not_after)}.",
            cause="This server keeps two certificates for the name, one for each kind of key, and shows a client the one that it "
            "understands. Only one of them was renewed.",
            fix=f"Renew the {key_word(leaf)} certificate as well and reload the server, or take it away if no client needs it any more.",
            evidence={"renewed": partner.sha256, "not_after": leaf.not_after.isoformat()},
        ),
    )


def _is_due(cert: Certificate, subject: Subject, share: int) -> bool:
    """Whether this share of the lifetime is left, or less. Dates that cannot be read are not due."""
    begin, end = cert.not_before, cert.not_after
    return bool(begin and end and (end - subject.now) * share <= end - begin)
