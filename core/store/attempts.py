"""Attempts to sign in that failed, as the person in whose name they were made sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id

KEPT_FOR: Final = timedelta(days=90)


class FailedAttempt(Base):
    """One attempt. `kind` is password or code; `user_id` is None where nobody has that address: both are the same work.

    `network` is where it came from, like "192.0.2.0/24". Kept for 90 days.
    """

    __tablename__ = "failed_attempts"
    id: Mapped[Id]
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(sa.String(16))
    network: Mapped[str] = mapped_column(sa.String(64))
    at: Mapped[datetime] = mapped_column(index=True)
    __table_args__ = (sa.Index("ix_failed_attempts_user", "user_id", "at"),)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One of them, as it is shown."""

    kind: str
    network: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Attempts:
    """How many there were since a time, and the newest few."""

    count: int
    newest: tuple[Attempt, ...]


def attempts_on(session: Session, user_id: int, since: datetime, *, most: int) -> Attempts:
    """What was tried in this person's name since then."""
    theirs = (FailedAttempt.user_id == user_id, FailedAttempt.at > since)
    count = session.scalar(sa.select(sa.func.count()).select_from(FailedAttempt).where(*theirs)) or 0
    rows = session.execute(
        sa.select(FailedAttempt.kind, FailedAttempt.network, FailedAttempt.at)
        .where(*theirs)
        .order_by(FailedAttempt.at.desc(), FailedAttempt.id.desc())
        .limit(most)
    )
    return Attempts(count, tuple(Attempt(*row) for row in rows))


def purge_attempts(session: Session, now: datetime, *, most: int = 1_000) -> None:
    """Drop attempts of more than 90 days ago, some at a time."""
    old = sa.select(FailedAttempt.id).where(FailedAttempt.at < now - KEPT_FOR).limit(most)
    session.execute(sa.delete(FailedAttempt).where(FailedAttempt.id.in_(old)).execution_options(synchronize_session=False))
