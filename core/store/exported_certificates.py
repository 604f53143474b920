"""Certificates as they go into an account's export: those that were seen here, and those that the account brought."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import CHUNK
from core.store.imports import ImportedCertificate
from core.store.observations import Certificate
from core.store.raw import fetched, instant_text, json_text, plain


class CertificateRow(NamedTuple):
    """What is told of a certificate; instants are text."""

    sha256: str
    subject: str | None = None
    issuer: str | None = None
    serial: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    key: str | None = None
    spki_sha256: str | None = None
    unreadable: Sequence[str] = ()


def certificates_of(session: Session, account_id: int, digests: Iterable[str]) -> Iterator[tuple[CertificateRow, str, bytes]]:
    """For each of these digests, in their order: what is told of the certificate, the line that was brought of it, itself.

    One that was only brought has nothing but its digest; one that was only seen here has no line.
    """
    c, i = Certificate, ImportedCertificate
    wanted: sa.BindParameter[Any] = sa.bindparam("digests", expanding=True)
    told = sa.select(
        c.sha256, c.subject, c.issuer, c.serial, instant_text(session, c.not_before), instant_text(session, c.not_after), c.key,
        c.spki_sha256, json_text(session, c.unreadable), plain(c.der),
    ).where(c.sha256.in_(wanted))  # fmt: skip
    own = sa.select(i.sha256, i.line, plain(i.der)).where(i.account_id == account_id, i.deleted_at.is_(None), i.sha256.in_(wanted))
    brought_any = session.scalar(sa.select(sa.exists().where(i.account_id == account_id, i.deleted_at.is_(None))))
    for chunk in _chunks(digests):
        values = {"digests": chunk}
        lines = fetched(session, own, values) if brought_any else ()
        found = {sha256: (CertificateRow(sha256), line, der) for sha256, line, der in lines}
        for row in fetched(session, told, values):
            brought = found[row[0]][1] if row[0] in found else ""
            found[row[0]] = CertificateRow._make((*row[:8], _words(row[8]))), brought, row[9]
        yield from (found[digest] for digest in chunk if digest in found)


@lru_cache(maxsize=256)
def _words(text: str) -> Sequence[str]:
    return tuple(json.loads(text))


def _chunks(digests: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
