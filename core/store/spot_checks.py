"""Spot checks: what strangers asked about one name, and what came of it, for a day. No account's row leads here or from here."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.backups import Installation
from core.store.base import Base, Id, index_where
from core.store.db import rowcount

KEPT: Final = timedelta(hours=24)


class SpotCheck(Base):
    """One question. `ref` is 128 random bits: whoever has it may read the answer, until `ends_at`.

    `visitor` and `network` are digests of where it was asked from. `step` says how far it is: waiting, addresses, dialling, done.
    `shown_at` is from when the answer may be shown: nobody can tell by the time it took whether a port was closed or filtered.
    """

    __tablename__ = "spot_checks"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(32), unique=True)
    name: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer)
    starttls: Mapped[str] = mapped_column(sa.String(16))
    visitor: Mapped[str] = mapped_column(sa.String(64))
    network: Mapped[str] = mapped_column(sa.String(64))
    asked_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    claim: Mapped[int] = mapped_column(default=0)
    step: Mapped[str] = mapped_column(sa.String(16), default="waiting")
    began_at: Mapped[datetime | None]
    addresses: Mapped[int] = mapped_column(sa.Integer, default=0)
    shown_at: Mapped[datetime | None]
    answer: Mapped[dict[str, Any]]
    __table_args__ = (
        sa.Index("ix_spot_checks_asked", "asked_at"),
        sa.Index("ix_spot_checks_name", "name", "asked_at"),
        index_where("shown_at IS NULL", "ix_spot_checks_waiting", "asked_at"),
    )


class SpotDial(Base):
    """An address that was dialled for a spot check, whatever name it was asked for by. IPv6: its /64."""

    __tablename__ = "spot_dials"
    id: Mapped[Id]
    address: Mapped[str] = mapped_column(sa.String(64))
    at: Mapped[datetime]
    __table_args__ = (sa.Index("ix_spot_dials_address", "address", "at"),)


def lock_limits(session: Session) -> None:
    """Hold what counts against the limits until the transaction ends: two who ask at once are counted one after the other.

    On SQLite a writing transaction is alone anyway.
    """
    session.execute(sa.select(Installation.ref).with_for_update(key_share=True))


def new_spot_ref() -> str:
    """128 random bits, as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def spot_check(session: Session, ref: str, now: datetime) -> SpotCheck | None:
    """The question with this reference; None once its day is over, as for one that never was."""
    return session.scalar(sa.select(SpotCheck).where(SpotCheck.ref == ref, SpotCheck.ends_at > now))


def spot_checks_waiting(session: Session, now: datetime, most: int) -> list[int]:
    """The rows that nobody has in hand, oldest first."""
    free = sa.or_(SpotCheck.lease_until.is_(None), SpotCheck.lease_until <= now)
    where = (SpotCheck.shown_at.is_(None), SpotCheck.ends_at > now, free)
    return list(session.scalars(sa.select(SpotCheck.id).where(*where).order_by(SpotCheck.asked_at).limit(most)))


def purge_spot_checks(session: Session, now: datetime) -> int:
    """Delete what is older than a day, and what a clock that was ahead wrote; how many questions went."""
    gone = session.execute(sa.delete(SpotCheck).where(sa.or_(SpotCheck.ends_at <= now, SpotCheck.ends_at > now + 2 * KEPT)))
    session.execute(sa.delete(SpotDial).where(sa.or_(SpotDial.at <= now - KEPT, SpotDial.at > now + KEPT)))
    return rowcount(gone)
