"""Users whom an operator keeps out, and the one condition by which everything that lets people in asks for it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where


class UserDisabling(Base):
    """From `disabled_at` until `enabled_at` this user is let in by nothing. `disabled_by` and `enabled_by` are None for the terminal."""

    __tablename__ = "user_disablings"
    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    disabled_at: Mapped[datetime]
    disabled_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    enabled_at: Mapped[datetime | None]
    enabled_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    __table_args__ = (index_where("enabled_at IS NULL", "uq_user_disablings_open", "user_id", unique=True),)


def enabled(user_id: InstrumentedAttribute[int]) -> sa.ColumnElement[bool]:
    """What is true of a user whom nobody keeps out. Stands wherever a live user is asked for who acts or is told something."""
    return ~disabled(user_id)


def disabled(user_id: InstrumentedAttribute[int]) -> sa.ColumnElement[bool]:
    """What is true of a user whom an operator keeps out."""
    return sa.exists().where(UserDisabling.user_id == user_id, UserDisabling.enabled_at.is_(None))


def open_disabling(session: Session, user_id: int) -> UserDisabling | None:
    """What keeps this user out; None while nothing does."""
    where = (UserDisabling.user_id == user_id, UserDisabling.enabled_at.is_(None))
    return session.scalar(sa.select(UserDisabling).where(*where))
