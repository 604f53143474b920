"""Who issued whom: our own walk from a leaf towards a root, for telling why the judge found no path.

It is lax where the judge is strict (dates, weak hashes, extensions do not stop it) and trusts nothing: a step is taken only if
the names fit byte by byte and the signature does. Source: RFC 5280 section 6.1, without its conditions.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from core.scanner import der as raw
from core.scanner.certificate import Certificate, known_certificate
from core.scanner.fields import quietly
from core.scanner.roots import Roots
from core.scanner.strength import costs_too_much

STEPS_MAX = 100
"""Signatures checked in one walk. Chains that fork over and over are an attack, not a configuration."""


class End(enum.IntEnum):
    """How a walk ended, the better the higher."""

    BROKEN = 0  # the issuer is there by name, and did not sign
    UNKNOWN = 1  # the issuer is not there
    SELF_SIGNED = 2  # at a self-signed certificate that is no root of ours
    ANCHORED = 3  # at a root of ours


@dataclass(frozen=True, slots=True)
class Walk:
    """The certificates passed, leaf first, with the root if it is one of ours or was served."""

    end: End
    passed: tuple[Certificate, ...]


def walk(chain: tuple[Certificate, ...], roots: Roots) -> Walk:
    """The best walk from the first of `chain` over the others to one of `roots`."""
    with quietly():
        return _Walker([link for cert in chain if (link := _link(cert.der))], roots).from_(_link(chain[0].der), ()) or Walk(
            End.UNKNOWN, chain[:1]
        )


@dataclass(frozen=True, slots=True)
class _Link:
    cert: x509.Certificate
    certificate: Certificate
    issuer: bytes
    subject: bytes


def _link(der: bytes) -> _Link | None:
    certificate = known_certificate(der)
    if not certificate.is_readable or certificate.self_issued is None or costs_too_much(certificate):
        return None
    parts = raw.split(der)
    return _Link(x509.load_der_x509_certificate(der), certificate, parts.issuer, parts.subject)


@dataclass
class _Walker:
    served: list[_Link]
    roots: Roots
    steps_left: int = field(default=STEPS_MAX)

    def from_(self, link: _Link | None, before: tuple[Certificate, ...]) -> Walk | None:
        if link is None:
            return None
        here = (*before, link.certificate)
        if link.certificate.sha256 in self.roots.sha256s:
            return Walk(End.ANCHORED, here)
        anchors = [root for der in self.roots.by_subject.get(link.issuer, ()) if (root := _link(der)) and self._signed(link, root)]
        if anchors:
            return Walk(End.ANCHORED, (*here, anchors[0].certificate))
        if link.issuer == link.subject and self._signed(link, link):
            return Walk(End.SELF_SIGNED, here)
        named = [other for other in self.served if other.subject == link.issuer and other.certificate not in here]
        onward = [found for other in named if self._signed(link, other) and (found := self.from_(other, here))]
        return max(onward, key=lambda found: found.end, default=Walk(End.BROKEN if named else End.UNKNOWN, here))

    def _signed(self, link: _Link, issuer: _Link) -> bool:
        self.steps_left -= 1
        return self.steps_left >= 0 and signed_by(link.cert, issuer.cert)


def signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if the issuer's key made this signature, by however weak a hash."""
    try:
        cert.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):  # sha1 and md5 among them, which the library no longer judges
        return _weakly_signed_by(cert, issuer)
    return True


def _weakly_signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        algorithm, key = cert.signature_hash_algorithm, issuer.public_key()
        if not isinstance(algorithm, hashes.SHA1 | hashes.MD5):
            return False
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(cert.signature, cert.tbs_certificate_bytes, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
