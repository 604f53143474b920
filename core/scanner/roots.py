"""Whom we trust: Mozilla's roots as certifi ships them, and the operator's own.

Certificates are loaded one at a time: one odd root (certifi holds one with a serial that is not positive) must not cost the others.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from core.scanner import der
from core.scanner.facts import Sha256, sha256
from core.scanner.fields import quietly

PEM = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.DOTALL)

REFUSED = (
    ValueError, TypeError, KeyError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion, UnsupportedAlgorithm,
)  # fmt: skip
"""What the library raises on odd certificates: TypeError for a constraint on an address that is none, KeyError for a TLS feature
(RFC 7633) that it does not know."""

ONE_SECOND = timedelta(seconds=1)


def shifted(date: datetime, by: timedelta) -> datetime:
    """The date moved, or as it is at the calendar's edge: a certificate without an end says 9999-12-31 23:59:59 (RFC 5280 4.1.2.5)."""
    try:
        return date + by
    except OverflowError:
        return date


class RootsUnreadable(Exception):  # noqa: N818 - reads as a sentence
    """The trust anchors could not be loaded; the text says which file and what to do. Nothing was changed."""


@dataclass(frozen=True, eq=False)
class Roots:
    """A set of trust anchors. `digest` changes when the set does; `by_subject` finds them by the exact bytes of their name.

    `boundaries` are the instants from which one of them is valid or no longer so, in order.
    """

    store: Store
    by_subject: Mapping[bytes, tuple[bytes, ...]]
    sha256s: frozenset[Sha256]
    digest: Sha256
    boundaries: tuple[datetime, ...]

    @classmethod
    def load(cls, extra_pem_path: str = "") -> Roots:
        """The roots of certifi and, where a path is given, every certificate of that PEM file. Raises RootsUnreadable."""
        certs = _certificates(Path(certifi.where()).read_bytes())
        if not certs:
            raise RootsUnreadable("The list of public authorities that came with certifi is empty. Install the certifi package again.")
        if extra_pem_path:
            certs += _operators(Path(extra_pem_path))
        return cls.of(certs)

    @classmethod
    def of(cls, certs: list[x509.Certificate]) -> Roots:
        """Exactly these anchors and no others; at least one."""
        ders = {cert.public_bytes(Encoding.DER): cert for cert in certs}
        by_subject: dict[bytes, tuple[bytes, ...]] = {}
        for data in ders:
            name = der.split(data).subject
            by_subject[name] = (*by_subject.get(name, ()), data)
        digests = sorted(map(sha256, ders))
        with quietly():
            ends = {shifted(cert.not_valid_after_utc, ONE_SECOND) for cert in ders.values()}
            dates = ends | {cert.not_valid_before_utc for cert in ders.values()}
        return cls(Store(list(ders.values())), by_subject, frozenset(digests), sha256("".join(digests).encode()), tuple(sorted(dates)))

    def steady(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """The instants before and after `now` between which no root begins or ends."""
        at = bisect.bisect_right(self.boundaries, now)
        return (self.boundaries[at - 1] if at else None, self.boundaries[at] if at < len(self.boundaries) else None)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    with quietly():
        return [cert for found in PEM.finditer(pem) if (cert := _loaded(found.group()))]


def _loaded(pem: bytes) -> x509.Certificate | None:
    try:
        cert = x509.load_pem_x509_certificate(pem)
        _ = cert.subject, cert.not_valid_after_utc, cert.extensions
    except REFUSED:  # a root that we cannot read is one that we do not trust
        return None
    return cert


def _operators(path: Path) -> list[x509.Certificate]:
    try:
        pem = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise RootsUnreadable(f"Your own roots were not read from {path}: {reason}. Check KEYCHEST_EXTRA_ROOTS.") from error
    certs = _certificates(pem)
    if not certs or len(certs) < len(PEM.findall(pem)):
        raise RootsUnreadable(
            f"Your own roots were not read from {path}: it holds {len(PEM.findall(pem))} certificates, of which {len(certs)} can be read. "
            "It must be a PEM file of CA certificates; check KEYCHEST_EXTRA_ROOTS."
        )
    return certs
