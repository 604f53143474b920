"""Certificates as they go into an account's export: those that were seen here, and those that the account brought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import CHUNK
from core.store.imports import ImportedCertificate
from core.store.observations import Certificate

_TOLD: Final = (
    Certificate.sha256, Certificate.subject, Certificate.issuer, Certificate.serial, Certificate.not_before, Certificate.not_after,
    Certificate.key, Certificate.spki_sha256, Certificate.unreadable,
)  # fmt: skip


def certificates_of(session: Session, account_id: int, digests: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """For each of these digests, in their order, what is told of the certificate: as it was seen here, or the line that was brought."""
    i = ImportedCertificate
    for chunk in _chunks(digests):
        seen = {row.sha256: row for row in session.execute(sa.select(*_TOLD).where(Certificate.sha256.in_(chunk)))}
        own = (i.account_id == account_id, i.deleted_at.is_(None), i.sha256.in_(chunk))
        brought = dict(session.execute(sa.select(i.sha256, i.line).where(*own)).all())
        yield from ((seen.get(digest), brought.get(digest, "")) for digest in chunk if digest in seen or digest in brought)


def ders_of(session: Session, account_id: int, digests: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The certificates themselves, in that order."""
    i = ImportedCertificate
    for chunk in _chunks(digests):
        own = (i.account_id == account_id, i.deleted_at.is_(None), i.sha256.in_(chunk))
        found = dict(session.execute(sa.select(i.sha256, i.der).where(*own)).all())
        found |= dict(session.execute(sa.select(Certificate.sha256, Certificate.der).where(Certificate.sha256.in_(chunk))).all())
        yield from ((digest, found[digest]) for digest in chunk if digest in found)


def _chunks(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    return (digests[start : start + CHUNK] for start in range(0, len(digests), CHUNK))
