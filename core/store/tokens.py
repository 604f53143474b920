"""API tokens: what a program reads an account with, in the name of the person who made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.account_rules import factor_required
from core.store.accounts import Account, Membership, User
from core.store.base import Base, Id
from core.store.disablings import enabled
from core.store.factors import has_factor


class ApiToken(Base):
    """One token. Its maker holds it, the row its SHA-256: who reads the table reads no account with it.

    `prefix` is the part that is shown for ever; `last_used_at` and `last_network` are book-keeping, and may lag by a minute.
    """

    __tablename__ = "api_tokens"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    prefix: Mapped[str] = mapped_column(sa.String(16))
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    last_network: Mapped[str] = mapped_column(sa.String(64), default="")
    revoked_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token speaks for, with the role that they have now."""

    token_id: int
    token_name: str
    scopes: tuple[str, ...]
    expires_at: datetime
    last_used_at: datetime | None
    user_id: int
    user_ref: str
    email: str
    account_id: int
    account_ref: str
    account_name: str
    role: str


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A live token in a list. `by` is the e-mail address of its maker."""

    ref: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    last_network: str
    by: str


def live_tokens(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """What holds of a token that was not revoked and has not ended."""
    return ApiToken.revoked_at.is_(None), ApiToken.expires_at > now


def bearer_of(session: Session, token_sha256: str, now: datetime) -> Bearer | None:
    """Who this token speaks for; None when it ended or was revoked, its person is kept out, or they, their place or the account is gone.

    None, too, while the account asks its members for a second factor and its person has none.
    """
    row = session.execute(
        sa.select(ApiToken, User, Account, Membership.role)
        .join(User, User.id == ApiToken.user_id)
        .join(Account, Account.id == ApiToken.account_id)
        .join(Membership, sa.and_(Membership.account_id == ApiToken.account_id, Membership.user_id == ApiToken.user_id))
        .where(ApiToken.token_sha256 == token_sha256, *live_tokens(now))
        .where(User.deleted_at.is_(None), enabled(User.id), Account.deleted_at.is_(None), Membership.deleted_at.is_(None))
    ).first()
    if row is None or (factor_required(session, row[2].id) and not has_factor(session, row[1].id)):
        return None
    token, user, account, role = row
    return Bearer(
        token_id=token.id,
        token_name=token.name,
        scopes=tuple(token.scopes),
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        user_id=user.id,
        user_ref=user.ref,
        email=user.email,
        account_id=account.id,
        account_ref=account.ref,
        account_name=account.name,
        role=role,
    )


def tokens_of(session: Session, account_id: int, now: datetime, *, user_id: int | None = None) -> tuple[KeptToken, ...]:
    """The live tokens of an account, or of one person in it, newest first."""
    rows = session.execute(
        sa.select(ApiToken, User.email)
        .join(User, User.id == ApiToken.user_id)
        .where(ApiToken.account_id == account_id, *live_tokens(now))
        .where(ApiToken.user_id == user_id if user_id is not None else sa.true())
        .order_by(ApiToken.id.desc())
    )
    return tuple(
        KeptToken(
            token.ref, token.name, token.prefix, tuple(token.scopes), token.created_at, token.expires_at, token.last_used_at,
            token.last_network, email,
        )
        for token, email in rows
    )  # fmt: skip
