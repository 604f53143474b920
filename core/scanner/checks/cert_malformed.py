"""RFC 5280 4 (certificate profile): every field can be read.

Says: which parts of a certificate in the chain cannot be read.
Why: programs differ in what they make of a malformed field: some ignore it, others refuse the certificate.
Do: have it issued again; where it is an intermediate, install the current one from the authority.
Limits: what KeyChest's library cannot read, others sometimes can. What depends on an unreadable field is reported as unknown, never
  as a pass.
"""

from __future__ import annotations

from core.scanner.certificate import Certificate
from core.scanner.facts import Finding, Severity
from core.scanner.subject import Subject
from core.scanner.wording import listed, subject_of

ID = "CERT-MALFORMED"
SEVERITY = Severity.MEDIUM
NEEDS: tuple[str, ...] = ()
WORDS = {
    "certificate": "all of it",
    "extensions": "all of its extensions",
    "sans": "its names",
    "not_before": "its first day",
    "not_after": "its last day",
    "key": "its key",
    "is_ca": "whether it is an authority's",
    "key_usage": "its key's usages",
    "extended_key_usage": "its purposes",
    "aia_ca_issuers": "where its issuer is found",
    "crl_urls": "where its revocation list is found",
    "subject_cn": "its subject's common name",
    "signature_hash": "the hash that was signed",
    "aki": "its issuer's key identifier",
    "ski": "its key identifier",
    "policies": "its policies",
    "subject": "its subject",
    "issuer": "its issuer",
}


def applies(_subject: Subject) -> bool:
    """Every certificate as served."""
    return True


def run(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each malformed certificate in the served chain."""
    odd = [cert for cert in dict.fromkeys(subject.chain) if cert.unreadable]
    return tuple(
        subject.finding(
            ID,
            SEVERITY,
            f"{subject_of(cert, subject.leaf)} is malformed; this cannot be read: {_fields(cert)}.",
            cause="The program that issued it wrote something that the standard does not allow. It is kept as it was served.",
            fix="Have it issued again by a current program or authority.",
            about=cert,
            evidence={"unreadable": list(cert.unreadable)},
        )
        for cert in odd
    )


def _fields(cert: Certificate) -> str:
    return listed(tuple(WORDS.get(field, field) for field in cert.unreadable))
