"""What was seen: certificates once each, observations when they change, and which of them is current."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where


class Certificate(Base):
    """A certificate, stored once. `der` is the truth; the other columns are what could be read from it, for lists and searches."""

    __tablename__ = "certificates"
    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    der: Mapped[bytes]
    first_seen_at: Mapped[datetime]
    subject: Mapped[str | None]
    issuer: Mapped[str | None]
    serial: Mapped[str | None] = mapped_column(index=True)
    not_before: Mapped[datetime | None]
    not_after: Mapped[datetime | None] = mapped_column(index=True)
    key: Mapped[str | None]
    spki_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    unreadable: Mapped[list[str]]


class Observation(Base):
    """What a probe saw first at `seen_at`, failures included. Never changed; a row is added only when what is seen changes.

    `key_asked`: the only kind of key that was offered, "" where all were (core.scanner.facts).

    `content_sha256` is the digest of what makes two observations the same: failure kind, protocol facts and served chain.
    """

    __tablename__ = "observations"
    id: Mapped[Id]
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"))
    perspective: Mapped[str] = mapped_column(sa.String(32))
    address: Mapped[str] = mapped_column(sa.String(64))
    seen_at: Mapped[datetime]
    content_sha256: Mapped[str] = mapped_column(sa.String(64))
    failure_kind: Mapped[str | None] = mapped_column(sa.String(32))
    failure_stage: Mapped[str | None] = mapped_column(sa.String(16))
    failure_message: Mapped[str | None]
    tls_version: Mapped[str | None]
    tls_cipher: Mapped[str | None]
    tls_group: Mapped[str | None]
    tls_alpn: Mapped[str | None]
    leaf_sha256: Mapped[str | None] = mapped_column(sa.ForeignKey("certificates.sha256"), index=True)
    chain: Mapped[list[str]]
    ocsp_staple: Mapped[bytes | None]
    scts: Mapped[bytes | None]
    key_asked: Mapped[str] = mapped_column(sa.String(8), default="")
    __table_args__ = (
        sa.UniqueConstraint("endpoint_id", "perspective", "address", "seen_at", "content_sha256", name="uq_observations_once"),
    )


class Current(Base):
    """Which observation holds at an address now, and until when it was seen. Set `gone_at`: the name no longer has the address.

    An address with an RSA and an ECDSA certificate has two rows: one of the server's own choice, one of the other kind of key.
    `verified` and `path` (digests, leaf to a trusted root; empty where there is none) are judged anew at every scan: time alone
    changes them, not what was seen. An expired chain has a path and is not verified.
    """

    __tablename__ = "current"
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"), primary_key=True, autoincrement=False)
    perspective: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    address: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    key_asked: Mapped[str] = mapped_column(sa.String(8), primary_key=True, default="")
    observation_id: Mapped[int] = mapped_column(sa.ForeignKey("observations.id"), index=True)
    last_seen_at: Mapped[datetime]
    gone_at: Mapped[datetime | None]
    verified: Mapped[bool] = mapped_column(default=False)
    path: Mapped[list[str]]


class Finding(Base):
    """A verdict other than pass, from the scan that first gave it to the one that no longer did."""

    __tablename__ = "findings"
    id: Mapped[Id]
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"))
    perspective: Mapped[str] = mapped_column(sa.String(32))
    address: Mapped[str] = mapped_column(sa.String(64))
    check: Mapped[str] = mapped_column(sa.String(32))
    certificate: Mapped[str] = mapped_column(sa.String(64), default="")
    severity: Mapped[str] = mapped_column(sa.String(16))
    status: Mapped[str] = mapped_column(sa.String(16))
    message: Mapped[str]
    cause: Mapped[str]
    fix: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("closed_at IS NULL", "uq_findings_open", "endpoint_id", "perspective", "address", "check", "certificate", unique=True),
    )


def pairs_known(session: Session, endpoint_ids: Sequence[int]) -> set[int]:
    """Of these endpoints, those where an address serves a certificate of the other kind of key as well, or once did.

    One that was not seen lately may be there still: the server may have been away. Asking tells, and costs little.
    """
    where = (Current.endpoint_id.in_(endpoint_ids), Current.key_asked != "")
    return set(session.scalars(sa.select(Current.endpoint_id).where(*where)))
