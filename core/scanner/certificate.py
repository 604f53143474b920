"""A certificate as KeyChest knows it: always its bytes and digest, and every field that could be read.

Of 1,754 odd certificates 248 load while a field raises, so each field is read on its own, each extension too,
and what cannot be read is named in `unreadable`. Sources: RFC 5280 section 4; RFC 4514 for names as text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from core.scanner import der as raw
from core.scanner.facts import Sha256, sha256
from core.scanner.fields import (
    EXTENSIONS,
    SCT_LIST,
    common_name,
    hash_name,
    key_fields,
    oid_name,
    quietly,
    refused_key_fields,
    visible,
)

KEPT_BYTES_MAX = 16_384
"""Certificates above this are read anew each time: a hostile server must not fill the memory of a worker."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. Fields are None or () where absent or unreadable; `unreadable` tells which, by field name.

    `sans` are the dNSNames as written (A-labels), `other_sans` the rest as "IP:192.0.2.1", "email:..", "URI:..".
    Dates are aware UTC. Digests, key identifiers and the serial are hexadecimal; the serial may be negative.
    `key` is for people ("EC P-256", "RSA 2048", "Ed25519"); `key_bits` of EC is the field's size.
    `scts_raw` is the embedded SignedCertificateTimestampList; `unknown_extensions` are dotted OIDs.
    """

    sha256: Sha256
    der: bytes
    subject: str | None = None
    subject_cn: str | None = None
    issuer: str | None = None
    sans: tuple[str, ...] = ()
    other_sans: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None
    key: str | None = None
    key_kind: str | None = None
    key_bits: int | None = None
    key_curve: str | None = None
    key_exponent: int | None = None
    serial: str | None = None
    spki_sha256: Sha256 | None = None
    signature: str | None = None
    signature_hash: str | None = None
    is_ca: bool | None = None
    key_usage: tuple[str, ...] | None = None
    extended_key_usage: tuple[str, ...] | None = None
    aia_ca_issuers: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    ski: str | None = None
    aki: str | None = None
    scts_raw: bytes = b""
    unknown_extensions: tuple[str, ...] = ()
    self_issued: bool | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def is_readable(self) -> bool:
        """False where the library takes these bytes for no certificate at all."""
        return "certificate" not in self.unreadable


FIELDS: tuple[tuple[str, Callable[[x509.Certificate], object]], ...] = (
    ("subject", lambda cert: visible(cert.subject.rfc4514_string())),
    ("subject_cn", common_name),
    ("issuer", lambda cert: visible(cert.issuer.rfc4514_string())),
    ("not_before", lambda cert: cert.not_valid_before_utc),
    ("not_after", lambda cert: cert.not_valid_after_utc),
    ("serial", lambda cert: f"{cert.serial_number:x}"),
    ("signature", lambda cert: oid_name(cert.signature_algorithm_oid)),
    ("signature_hash", hash_name),
)


class _Reading:
    """What has been read so far, and what raised."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.unreadable: list[str] = []

    def attempt(self, field: str, read: Callable[[], dict[str, Any]]) -> bool:
        """Keep what `read` gives, or name `field` as unreadable and say False."""
        try:
            self.values.update(read())
        except Exception:  # noqa: BLE001 - hostile bytes raise anything; the field is named, the bytes are kept
            if field not in self.unreadable:
                self.unreadable.append(field)
            return False
        return True


def read_certificate(der: bytes) -> Certificate:
    """Every readable field of `der`. Never raises: bytes that are no certificate give digest, bytes, and unreadable=("certificate",)."""
    with quietly():
        try:
            cert = x509.load_der_x509_certificate(der)
        except Exception:  # noqa: BLE001 - as above
            return Certificate(sha256(der), der, unreadable=("certificate",))
        reading = _Reading()
        for field, read in FIELDS:
            reading.attempt(field, lambda field=field, read=read: {field: read(cert)})  # type: ignore[misc]
        _read_raw(reading, cert, der)
        _read_extensions(reading, cert, der)
    return Certificate(sha256(der), der, **reading.values, unreadable=tuple(reading.unreadable))


def _read_raw(reading: _Reading, cert: x509.Certificate, der: bytes) -> None:
    """The key, and what is compared byte by byte."""
    spki = b""

    def cut() -> dict[str, Any]:
        nonlocal spki
        parts = raw.split(der)
        spki = parts.spki
        listed = [item.value for item in parts.extensions if item.oid == SCT_LIST]
        scts = raw.element(listed[0]).content if listed else b""
        return {"spki_sha256": sha256(spki), "self_issued": parts.issuer == parts.subject, "scts_raw": scts}

    reading.attempt("spki_sha256", cut)
    if not reading.attempt("key", lambda: key_fields(cert)):
        reading.attempt("key", lambda: refused_key_fields(cert, spki))


def _read_extensions(reading: _Reading, cert: x509.Certificate, der: bytes) -> None:
    """All extensions at once, or one by one where one of them is odd."""
    try:
        found: list[tuple[ObjectIdentifier, Callable[[], Any]]] = [(e.oid, lambda e=e: e.value) for e in cert.extensions]  # type: ignore[misc]
    except Exception:  # noqa: BLE001 - as above
        try:
            found = list(_one_by_one(der))
        except ValueError:
            reading.unreadable.append("extensions")
            return
    oids = [oid for oid, _ in found]
    unknown = []
    for oid, value in found:
        field, read = EXTENSIONS.get(oid, (f"extension {oid.dotted_string}", lambda _: {}))
        if oids.count(oid) > 1:  # RFC 5280 section 4.2 forbids it; believing either would be a guess
            reading.unreadable += [field] if field not in reading.unreadable else []
            continue
        reading.attempt(field, lambda read=read, value=value: read(value()))  # type: ignore[misc]
        if oid_name(oid) == oid.dotted_string:
            unknown.append(oid.dotted_string)
    reading.values["unknown_extensions"] = tuple(unknown)


def _one_by_one(der: bytes) -> Iterator[tuple[ObjectIdentifier, Callable[[], Any]]]:
    parts = raw.split(der)
    for item in parts.extensions:

        def value(item: raw.RawExtension = item) -> object:
            return x509.load_der_x509_certificate(raw.with_only(parts, item)).extensions[0].value

        yield ObjectIdentifier(item.oid), value


_kept = functools.lru_cache(maxsize=1024)(read_certificate)


def known_certificate(der: bytes) -> Certificate:
    """As read_certificate, remembering the last thousand: intermediates come again with every endpoint."""
    return _kept(der) if len(der) <= KEPT_BYTES_MAX else read_certificate(der)
