"""Approvals: acts that one person asks for and another one allows, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from core.store.accounts import User
from core.store.base import Base, Id
from core.store.watches import Watch


class Approval(Base):
    """What somebody asked to do to `count` rows of `table_name`, named in `refs`; it is used at most once.

    `decision` is "" while it is open, then approved, refused or withdrawn.
    """

    __tablename__ = "approvals"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    kind: Mapped[str] = mapped_column(sa.String(24))
    table_name: Mapped[str] = mapped_column(sa.String(64))
    count: Mapped[int]
    refs: Mapped[list[str]]
    asked_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decision: Mapped[str] = mapped_column(sa.String(16), default="")
    decided_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval that is open: `names` are the first few that it is about, `mine` whether the person who looks asked for it."""

    ref: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    count: int
    names: Sequence[str]
    mine: bool
    account: bool
    """It is about the whole account, and not about `count` names."""


@dataclass(frozen=True, slots=True)
class Decided:
    """An approval that is over. `decided_by` is "" where nobody decided in time."""

    asked_by: str
    asked_at: datetime
    count: int
    decision: str
    decided_by: str
    account: bool


def open_ones(account_id: int, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """What holds of an approval of this account that nobody decided, and that has not run out."""
    return (Approval.account_id == account_id, Approval.decision == "", Approval.expires_at > now)


def open_approval(session: Session, account_id: int, ref: str, now: datetime) -> Approval | None:
    """The open approval with this reference, held until the transaction ends."""
    return session.scalar(sa.select(Approval).where(Approval.ref == ref, *open_ones(account_id, now)).with_for_update())


def waiting_for(session: Session, account_id: int, user_id: int, now: datetime) -> int:
    """How many open approvals this person may decide: those that others asked for."""
    where = (*open_ones(account_id, now), Approval.asked_by != user_id)
    return session.scalar(sa.select(sa.func.count()).select_from(Approval).where(*where)) or 0


def waiting(session: Session, account_id: int, user_id: int, now: datetime, *, names: int = 10) -> tuple[Waiting, ...]:
    """Open approvals of an account, newest first."""
    rows = session.execute(
        sa.select(Approval, User.email)
        .join(User, User.id == Approval.asked_by)
        .where(*open_ones(account_id, now))
        .order_by(Approval.id.desc())
    ).all()
    first = {row.ref: row.refs[:names] for row, _ in rows}
    every = [ref for refs in first.values() for ref in refs]
    known = dict(session.execute(sa.select(Watch.ref, Watch.name).where(Watch.account_id == account_id, Watch.ref.in_(every))).all())
    return tuple(
        Waiting(
            row.ref, email, row.asked_at, row.expires_at, row.count,
            [known[ref] for ref in first[row.ref] if ref in known], row.asked_by == user_id,
            row.kind == "remove_account",
        )
        for row, email in rows
    )  # fmt: skip


def decided(session: Session, account_id: int, now: datetime, *, most: int = 20) -> tuple[Decided, ...]:
    """What was decided, or not in time, newest first."""
    asker, other = aliased(User), aliased(User)
    over = sa.or_(Approval.decision != "", Approval.expires_at <= now)
    rows = session.execute(
        sa.select(Approval, asker.email, other.email)
        .join(asker, asker.id == Approval.asked_by)
        .outerjoin(other, other.id == Approval.decided_by)
        .where(Approval.account_id == account_id, over)
        .order_by(Approval.id.desc())
        .limit(most)
    )
    return tuple(
        Decided(email, row.asked_at, row.count, row.decision or "not decided in time", by or "", row.kind == "remove_account")
        for row, email, by in rows
    )
