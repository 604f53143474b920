"""Passkeys, what devices were asked, and the questions asked of both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.accounts import User
from core.store.base import Base, Id
from core.store.disablings import enabled

MOST: Final = 20
"""So many passkeys may one person have."""


class Passkey(Base):
    """A key pair of a person's whose private half never leaves a device (W3C Web Authentication).

    `credential_id` and `public_key` (COSE) are base64url. `sign_count`: the highest count the device told; many always tell 0.
    """

    __tablename__ = "passkeys"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    credential_id: Mapped[str] = mapped_column(unique=True)
    public_key: Mapped[str]
    sign_count: Mapped[int]
    transports: Mapped[str]
    backed_up: Mapped[bool]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class PasskeyQuestion(Base):
    """What a device was asked to sign: once, for minutes. `user_id`: who may answer; None: whoever holds a passkey."""

    __tablename__ = "passkey_questions"
    id: Mapped[Id]
    challenge: Mapped[str] = mapped_column(sa.String(128), unique=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Held:
    """A device that may answer: the identity of its key (base64url), and how browsers reach it."""

    credential_id: str
    transports: tuple[str, ...]


def passkeys_of(session: Session, user_id: int) -> list[Passkey]:
    """A person's passkeys, in the order in which they were made."""
    where = (Passkey.user_id == user_id, Passkey.deleted_at.is_(None))
    return list(session.scalars(sa.select(Passkey).where(*where).order_by(Passkey.id)))


def held_by(session: Session, user_id: int) -> list[Held]:
    """The devices by which a person may answer."""
    return [Held(row.credential_id, tuple(row.transports.split())) for row in passkeys_of(session, user_id)]


def passkey_named(session: Session, credential_id: str) -> tuple[Passkey, User] | None:
    """The live passkey with this identity and its live person, held until the transaction ends."""
    where = (Passkey.credential_id == credential_id, Passkey.deleted_at.is_(None), User.deleted_at.is_(None), enabled(User.id))
    found = session.execute(sa.select(Passkey, User).join(User, User.id == Passkey.user_id).where(*where).with_for_update()).first()
    return (found[0], found[1]) if found is not None else None


def purge_questions(session: Session, now: datetime, *, most: int = 1_000) -> None:
    """Drop questions that ran out, some at a time. They are nobody's work."""
    old = sa.select(PasskeyQuestion.id).where(PasskeyQuestion.expires_at < now).limit(most)
    session.execute(sa.delete(PasskeyQuestion).where(PasskeyQuestion.id.in_(old)).execution_options(synchronize_session=False))
