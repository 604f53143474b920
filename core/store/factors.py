"""Second factors and recovery codes, and the questions asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.envelope import Place
from core.store.accounts import LoginSession, User
from core.store.base import Base, Id
from core.store.disablings import enabled
from core.store.passkeys import Passkey


class Factor(Base):
    """An authenticator app of a person's (TOTP, RFC 6238). `sealed`: its shared secret, see core/envelope.py.

    It counts once `confirmed_at` is set. `last_step`: the newest time step whose code was used; no code of it or before works again.
    """

    __tablename__ = "factors"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    sealed: Mapped[str]
    last_step: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """A code that stands in for a lost second factor, once. Its person holds it, the row its SHA-256: 80 random bits need no salt."""

    __tablename__ = "recovery_codes"
    id: Mapped[Id]
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    code_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class HalfSignedIn:
    """Somebody whose password was right, and who is asked for their second factor."""

    session_id: int
    user_id: int
    email: str


def half_signed_in(session: Session, token_sha256: str, now: datetime) -> HalfSignedIn | None:
    """Who a cookie's token belongs to while their second factor is still to come."""
    row = session.execute(
        sa.select(LoginSession.id, User.id, User.email)
        .join(User, User.id == LoginSession.user_id)
        .where(
            LoginSession.token_sha256 == token_sha256,
            LoginSession.factor_due.is_(True),
            LoginSession.ended_at.is_(None),
            LoginSession.expires_at > now,
            User.deleted_at.is_(None),
            enabled(User.id),
        )
    ).first()
    return HalfSignedIn(*row) if row is not None else None


def wrong_codes(session: Session, user_id: int, since: datetime) -> int:
    """How many wrong codes were tried for this person in sign-ins that began since then."""
    theirs = (LoginSession.user_id == user_id, LoginSession.created_at > since)
    return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(LoginSession.tries), 0)).where(*theirs)) or 0


def factor_of(session: Session, user_id: int, *, confirmed: bool = True) -> Factor | None:
    """The person's authenticator app; or with `confirmed` false the newest one that they have not confirmed yet."""
    state = Factor.confirmed_at.is_not(None) if confirmed else Factor.confirmed_at.is_(None)
    where = (Factor.user_id == user_id, Factor.deleted_at.is_(None), state)
    return session.scalar(sa.select(Factor).where(*where).order_by(Factor.id.desc()).limit(1))


def has_factor(session: Session, user_id: int) -> bool:
    """Whether a password alone does not sign this person in: they have an app or a passkey."""
    app = sa.exists().where(Factor.user_id == user_id, Factor.confirmed_at.is_not(None), Factor.deleted_at.is_(None))
    passkey = sa.exists().where(Passkey.user_id == user_id, Passkey.deleted_at.is_(None))
    return session.scalar(sa.select(sa.or_(app, passkey))) or False


def codes_left(session: Session, user_id: int) -> int:
    """How many recovery codes a person has not used."""
    unused = (RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return session.scalar(sa.select(sa.func.count()).select_from(RecoveryCode).where(*unused)) or 0


def factor_place(ref: str) -> Place:
    """Where a factor's secret lies. It is a person's, and no account's."""
    return Place("", Factor.__tablename__, ref)


def sealed_factors(session: Session) -> list[tuple[int, str, str]]:
    """Every sealed secret: row, the factor's reference, and what is sealed."""
    rows = session.execute(sa.select(Factor.id, Factor.ref, Factor.sealed).where(Factor.sealed != "").order_by(Factor.id))
    return [(number, ref, sealed) for number, ref, sealed in rows]
