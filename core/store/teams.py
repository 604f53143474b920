"""Who belongs to an account, who is invited, and which accounts are a person's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.accounts import Account, Membership, User
from core.store.base import Base, Id


class Invitation(Base):
    """A place in an account that is kept for an address until `expires_at`. The link holds the token, the row its SHA-256."""

    __tablename__ = "invitations"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    email: Mapped[str] = mapped_column(sa.String(320))
    role: Mapped[str] = mapped_column(sa.String(16))
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    invited_by: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A person in an account, or one who was. `ref` is the person's; `since_at`: when they joined; `left_at`: None for who is there."""

    ref: str
    email: str
    role: str
    since_at: datetime
    left_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation that can still be accepted."""

    ref: str
    email: str
    role: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Offer:
    """What the holder of an invitation's link is offered. `known`: there is a user with this address already."""

    email: str
    role: str
    account_name: str
    known: bool


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """An account that a person belongs to."""

    id: int
    ref: str
    name: str
    role: str


def team(session: Session, account_id: int) -> tuple[TeamMember, ...]:
    """Everybody in the account, in the order in which they joined."""
    return _members(session, account_id, Membership.deleted_at.is_(None), Membership.id.asc())


def left_since(session: Session, account_id: int, since: datetime) -> tuple[TeamMember, ...]:
    """Who left the account or was removed since then and is not back, newest first; each person once."""
    there = sa.select(Membership.user_id).where(Membership.account_id == account_id, Membership.deleted_at.is_(None))
    gone = sa.and_(Membership.deleted_at >= since, Membership.user_id.not_in(there))
    found = _members(session, account_id, gone, Membership.deleted_at.desc())
    return tuple({member.ref: member for member in reversed(found)}.values())[::-1]


def _members(
    session: Session, account_id: int, where: sa.ColumnElement[bool], order: sa.UnaryExpression[Any]
) -> tuple[TeamMember, ...]:  # fmt: skip
    rows = session.execute(
        sa.select(User.ref, User.email, Membership.role, Membership.created_at, Membership.deleted_at)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id == account_id, User.deleted_at.is_(None), where)
        .order_by(order)
    )
    return tuple(TeamMember(*row) for row in rows)


def invited(session: Session, account_id: int, now: datetime) -> tuple[Invited, ...]:
    """Invitations to the account that can still be accepted, newest first."""
    rows = session.execute(
        sa.select(Invitation.ref, Invitation.email, Invitation.role, Invitation.expires_at)
        .where(Invitation.account_id == account_id, *_usable(now))
        .order_by(Invitation.id.desc())
    )
    return tuple(Invited(*row) for row in rows)


def usable_invitation(session: Session, token_sha256: str, now: datetime) -> Invitation | None:
    """The invitation with this token, unless it was used, withdrawn or ran out, or its account is gone."""
    return session.scalar(
        sa.select(Invitation)
        .join(Account, Account.id == Invitation.account_id)
        .where(Invitation.token_sha256 == token_sha256, Account.deleted_at.is_(None), *_usable(now))
        .with_for_update(of=Invitation)
    )


def newest_invitation(session: Session, email: str, now: datetime) -> str | None:
    """The SHA-256 of the token of the newest invitation for this address that can still be accepted."""
    return session.scalar(
        sa.select(Invitation.token_sha256)
        .join(Account, Account.id == Invitation.account_id)
        .where(Invitation.email == email, Account.deleted_at.is_(None), *_usable(now))
        .order_by(Invitation.id.desc())
        .limit(1)
    )


def offer(session: Session, token_sha256: str, now: datetime) -> Offer | None:
    """What this invitation offers; None where it can not be accepted any more."""
    known = sa.select(sa.literal(1)).where(User.email == Invitation.email, User.deleted_at.is_(None)).exists()
    row = session.execute(
        sa.select(Invitation.email, Invitation.role, Account.name, known)
        .join(Account, Account.id == Invitation.account_id)
        .where(Invitation.token_sha256 == token_sha256, Account.deleted_at.is_(None), *_usable(now))
    ).first()
    return Offer(row[0], row[1], row[2], bool(row[3])) if row is not None else None


def own_accounts(session: Session, user_id: int) -> tuple[OwnAccount, ...]:
    """The accounts that a person belongs to, by name."""
    rows = session.execute(
        sa.select(Account.id, Account.ref, Account.name, Membership.role)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.user_id == user_id, Membership.deleted_at.is_(None), Account.deleted_at.is_(None))
        .order_by(Account.name, Account.id)
    )
    return tuple(OwnAccount(*row) for row in rows)


def _usable(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None), Invitation.expires_at > now)
