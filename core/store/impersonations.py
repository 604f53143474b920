"""Operators who look at an account as its viewer, and what its owners are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where


class Impersonation(Base):
    """One look of an operator's at an account, by one sign-in, for a reason, until `ends_at` at the latest.

    `ended_at` may be written a minute late: what opens the account asks for the sign-in, the time and the role itself.
    """

    __tablename__ = "impersonations"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    sign_in_id: Mapped[int] = mapped_column(sa.ForeignKey("login_sessions.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    reason: Mapped[str]
    began_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("ended_at IS NULL", "uq_impersonations_open", "sign_in_id", unique=True),
        sa.Index("ix_impersonations_account", "account_id", "began_at"),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """A look that goes on, as the operator who looks sees it."""

    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A look at an account, as its owners and operators see it. `until`: when it ended, or ends at the latest."""

    began_at: datetime
    until: datetime
    reason: str


def going_on(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """What is true of a look that nobody ended and whose time is not over."""
    return Impersonation.ended_at.is_(None), Impersonation.ends_at > now


def looks_at(session: Session, account_id: int, since: datetime, *, most: int) -> tuple[LookedAt, ...]:
    """Looks at an account that went on at some time since then, newest first."""
    ended = sa.func.coalesce(Impersonation.ended_at, Impersonation.ends_at)
    rows = session.execute(
        sa.select(Impersonation.began_at, Impersonation.ended_at, Impersonation.ends_at, Impersonation.reason)
        .where(Impersonation.account_id == account_id, ended >= since)
        .order_by(Impersonation.began_at.desc(), Impersonation.id.desc())
        .limit(most)
    )
    return tuple(LookedAt(began, ended or ends, reason) for began, ended, ends, reason in rows)
