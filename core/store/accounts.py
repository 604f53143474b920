"""Accounts, users, memberships, sign-ins and one-time links, and the questions asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from core.store.base import Base, Id, live_index
from core.store.disablings import enabled
from core.store.impersonations import Impersonation, Look, going_on


class Account(Base):
    """A tenant: what a team signs up for."""

    __tablename__ = "accounts"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class User(Base):
    """A person. `installation_role` is operator, auditor or empty; `email` is lower case."""

    __tablename__ = "users"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    email: Mapped[str] = mapped_column(sa.String(320))
    password_hash: Mapped[str] = mapped_column(default="")
    installation_role: Mapped[str] = mapped_column(sa.String(16), default="")
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_users_email_live", "email", unique=True),)


class Membership(Base):
    """A user's role in an account: owner, manager or viewer."""

    __tablename__ = "memberships"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    role: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_memberships_live", "account_id", "user_id", unique=True),)


class LoginSession(Base):
    """One sign-in. The cookie holds the token, the row its SHA-256: who reads the table cannot sign in with it.

    `browser` and `network` are what its person knows it by: "Firefox on Linux", "192.0.2.0/24". Nothing is decided by them.
    """

    __tablename__ = "login_sessions"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey("accounts.id"))
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    browser: Mapped[str] = mapped_column(sa.String(64), default="")
    network: Mapped[str] = mapped_column(sa.String(64), default="")
    factor_due: Mapped[bool] = mapped_column(default=False)
    """The password was right, and the second factor is still to come: nothing else is open meanwhile."""
    tries: Mapped[int] = mapped_column(default=0)


class OneTimeLink(Base):
    """A link that works once: `setup` (the first operator) or `welcome` (a user chooses a password)."""

    __tablename__ = "one_time_links"
    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(sa.String(16))
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who acts, as the portal needs it on every request."""

    session_id: int
    user_id: int
    user_ref: str
    email: str
    installation_role: str
    account_id: int | None
    account_ref: str
    account_name: str
    role: str
    has_factor: bool
    """Whether a password alone does not sign them in."""
    factor_required: bool = False
    """Whether the account asks its members for that."""
    time_zone: str = ""
    dates: str = ""
    """How they want to see times and dates; "" where they chose nothing."""
    look: Look | None = None
    """Set while they look at the account as an operator, for its owners: then the account is that one, and the role viewer."""


@dataclass(frozen=True, slots=True)
class OwnSignIn:
    """A sign-in as its person sees it. `current`: the one that looks; `over`: ended, or ran out."""

    ref: str
    browser: str
    network: str
    created_at: datetime
    over: bool
    current: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an account, as a mail needs them."""

    account_id: int
    user_id: int
    email: str
    role: str


def signed_in(session: Session, token_sha256: str, now: datetime, *, factor_needed: bool = False) -> SignedIn | None:
    """Who a cookie's token belongs to; None when the sign-in ended, ran out, or its user is gone or kept out.

    `factor_needed`: who has no second factor looks at no account as an operator.
    """
    chosen = sa.table("preferences", sa.column("user_id"), sa.column("time_zone"), sa.column("dates"))
    looks = [Impersonation.sign_in_id == LoginSession.id, *going_on(now), User.installation_role == "operator"]
    account_id = sa.func.coalesce(Impersonation.account_id, LoginSession.account_id)
    row = session.execute(
        sa.select(
            LoginSession, User, Account, Membership, Impersonation, with_factor(), _factor_required(), chosen.c.time_zone, chosen.c.dates
        )
        .join(User, User.id == LoginSession.user_id)
        .outerjoin(chosen, chosen.c.user_id == User.id)
        .outerjoin(Impersonation, sa.and_(*looks, with_factor() if factor_needed else sa.true()))
        .outerjoin(Account, sa.and_(Account.id == account_id, Account.deleted_at.is_(None)))
        .outerjoin(
            Membership,
            sa.and_(Membership.account_id == Account.id, Membership.user_id == User.id, Membership.deleted_at.is_(None)),
        )
        .where(
            LoginSession.token_sha256 == token_sha256,
            LoginSession.ended_at.is_(None),
            LoginSession.factor_due.is_(False),
            LoginSession.expires_at > now,
            User.deleted_at.is_(None),
            enabled(User.id),
        )
    ).first()
    return _read(tuple(row)) if row is not None else None


def _read(row: tuple[Any, ...]) -> SignedIn:
    sign_in, user, account, membership, look, factor, required, time_zone, dates = row
    role = "" if account is None else "viewer" if look is not None else membership.role if membership is not None else ""
    return SignedIn(
        session_id=sign_in.id,
        user_id=user.id,
        user_ref=user.ref,
        email=user.email,
        installation_role=user.installation_role,
        account_id=account.id if role else None,
        account_ref=account.ref if role else "",
        account_name=account.name if role else "",
        role=role,
        has_factor=bool(factor),
        factor_required=bool(role and required),
        time_zone=time_zone or "",
        dates=dates or "",
        look=Look(look.reason, look.ends_at) if look is not None else None,
    )


def with_factor() -> sa.ColumnElement[bool]:
    """Whether a user has an app or a passkey. The modules of both stand on this one."""
    factors = sa.table("factors", sa.column("user_id"), sa.column("confirmed_at"), sa.column("deleted_at"))
    passkeys = sa.table("passkeys", sa.column("user_id"), sa.column("deleted_at"))
    return sa.or_(
        sa.exists().where(factors.c.user_id == User.id, factors.c.confirmed_at.is_not(None), factors.c.deleted_at.is_(None)),
        sa.exists().where(passkeys.c.user_id == User.id, passkeys.c.deleted_at.is_(None)),
    )


def _factor_required() -> sa.ColumnElement[bool]:
    rules = sa.table("account_rules", sa.column("account_id"), sa.column("factor_since"))
    return sa.exists().where(rules.c.account_id == Account.id, rules.c.factor_since.is_not(None))


def own_sign_ins(session: Session, user_id: int, *, current_id: int, now: datetime, most: int) -> tuple[OwnSignIn, ...]:
    """A person's sign-ins: those that hold, the one that looks first, then the newest of those that are over."""
    over = sa.or_(LoginSession.ended_at.is_not(None), LoginSession.expires_at <= now)
    rows = session.execute(
        sa.select(LoginSession, over)
        .where(LoginSession.user_id == user_id, LoginSession.factor_due.is_(False))
        .order_by(over, LoginSession.id != current_id, LoginSession.created_at.desc(), LoginSession.id.desc())
        .limit(most)
    )
    return tuple(OwnSignIn(row.ref, row.browser, row.network, row.created_at, bool(is_over), row.id == current_id) for row, is_over in rows)


def user_by_email(session: Session, email: str, *, let_in: bool = False) -> User | None:
    """The live user with this address, however it was typed; with `let_in` only one whom nobody keeps out."""
    where = [User.email == email.strip().lower(), User.deleted_at.is_(None), *([enabled(User.id)] if let_in else [])]
    return session.scalar(sa.select(User).where(*where))


def operator_exists(session: Session) -> bool:
    """Whether the installation has been set up: an operator who can sign in."""
    where = (User.installation_role == "operator", User.deleted_at.is_(None), User.password_hash != "")
    return session.scalar(sa.select(sa.exists().where(*where))) or False


def usable_link(session: Session, token_sha256: str, now: datetime) -> OneTimeLink | None:
    """The link with this token, unless it was used or ran out."""
    where = (OneTimeLink.token_sha256 == token_sha256, OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
    return session.scalar(sa.select(OneTimeLink).where(*where).with_for_update())


def first_account(session: Session, user_id: int) -> int | None:
    """The account that a person sees after signing in."""
    return session.scalar(
        sa.select(Membership.account_id)
        .join(Account, Account.id == Membership.account_id)
        .where(Membership.user_id == user_id, Membership.deleted_at.is_(None), Account.deleted_at.is_(None))
        .order_by(Membership.id)
        .limit(1)
    )


def members_of(session: Session, account_ids: Sequence[int]) -> list[Member]:
    """Everybody in these accounts whom nobody keeps out, in the order they came."""
    rows = session.execute(
        sa.select(Membership.account_id, User.id, User.email, Membership.role)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id.in_(account_ids), Membership.deleted_at.is_(None), User.deleted_at.is_(None), enabled(User.id))
        .order_by(Membership.id)
    )
    return [Member(*row) for row in rows]


def accounts_allowed(session: Session, listed: Sequence[str]) -> set[int]:
    """Accounts named by reference or by their founder's address, as KEYCHEST_SCAN_ALLOW_ACCOUNTS lists them.

    The founder is its first member, and has to be an owner still whom nobody keeps out: who asks a listed person in gets nothing by it.
    """
    if not listed:
        return set()
    lower = [entry.lower() for entry in listed]
    rows = session.scalars(
        sa.select(Account.id)
        .join(Membership, Membership.account_id == Account.id)
        .join(User, User.id == Membership.user_id)
        .where(
            Account.deleted_at.is_(None),
            Membership.deleted_at.is_(None),
            Membership.role == "owner",
            User.deleted_at.is_(None),
            enabled(User.id),
            sa.or_(Account.ref.in_(lower), sa.and_(User.email.in_(lower), Membership.id == _first_membership())),
        )
    )
    return set(rows)


def _first_membership() -> sa.ScalarSelect[int]:
    first = aliased(Membership)
    return sa.select(sa.func.min(first.id)).where(first.account_id == Account.id).correlate(Account).scalar_subquery()


def account_refs(session: Session, account_ids: Sequence[int]) -> dict[int, str]:
    """The references of these accounts."""
    return dict(session.execute(sa.select(Account.id, Account.ref).where(Account.id.in_(account_ids))).all())


def account_names(session: Session, account_ids: Sequence[int]) -> dict[int, str]:
    """What these accounts are called."""
    return dict(session.execute(sa.select(Account.id, Account.name).where(Account.id.in_(account_ids))).all())
