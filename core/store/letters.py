"""Letters: mails to one person that follow from what somebody did, with a link that works once where they bear one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where


class Letter(Base):
    """One letter. Its link's token is made as the mail is, and exists in the mail alone: the row holds its SHA-256.

    `about`: the reference of what it is about, as of an invitation. `words`: what its text is filled with; no secret ever.
    `outcome` is "" while it is on its way, else as in `core.channels.Delivery`. `used_at`: when its link was.
    """

    __tablename__ = "letters"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    kind: Mapped[str] = mapped_column(sa.String(24))
    email: Mapped[str] = mapped_column(sa.String(320), index=True)
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("accounts.id"))
    about: Mapped[str] = mapped_column(sa.String(16), default="", index=True)
    words: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    token_sha256: Mapped[str | None] = mapped_column(sa.String(64), unique=True)
    handed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(sa.String(16), default="")
    last_error: Mapped[str] = mapped_column(sa.Text, default="")
    used_at: Mapped[datetime | None]
    __table_args__ = (index_where("ended_at IS NULL", "ix_letters_due", "due_at"),)


def due_letters(now: datetime) -> Sequence[sa.ColumnElement[bool]]:
    """What is true of letters that are to be sent now, and in nobody's hand."""
    free = sa.or_(Letter.lease_until.is_(None), Letter.lease_until <= now)
    return (Letter.ended_at.is_(None), Letter.handed_at.is_(None), Letter.due_at <= now, free)


def letters_due(session: Session, now: datetime) -> bool:
    """Whether there is anything to send now."""
    return session.scalar(sa.select(sa.exists().where(*due_letters(now)))) or False


def usable_letter(session: Session, kind: str, token_sha256: str, now: datetime) -> Letter | None:
    """The letter of this kind with this link, unless it was used or has run out; held until the transaction ends."""
    where = (Letter.kind == kind, Letter.token_sha256 == token_sha256, Letter.used_at.is_(None), Letter.expires_at > now)
    return session.scalar(sa.select(Letter).where(*where).with_for_update())


def newest_about(session: Session, kind: str, refs: Sequence[str]) -> dict[str, Letter]:
    """The newest letter of a kind about each of these."""
    rows = session.scalars(sa.select(Letter).where(Letter.kind == kind, Letter.about.in_(refs)).order_by(Letter.id))
    return {row.about: row for row in rows}


def handed_lately(session: Session, kind: str, email: str, since: datetime) -> int:
    """How many letters of a kind left for this address since then."""
    where = (Letter.email == email, Letter.kind == kind, Letter.handed_at > since)
    return session.scalar(sa.select(sa.func.count()).select_from(Letter).where(*where)) or 0


def purge_letters(session: Session, now: datetime, *, after: timedelta = timedelta(days=30), most: int = 1_000) -> None:
    """Drop letters that ended, or ran out, that long ago, some at a time."""
    old = sa.select(Letter.id).where(Letter.expires_at < now - after, sa.func.coalesce(Letter.ended_at, Letter.expires_at) < now - after)
    session.execute(sa.delete(Letter).where(Letter.id.in_(old.limit(most))).execution_options(synchronize_session=False))
