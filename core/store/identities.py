"""Identities that people have at the installation's identity provider, ways there and back, and the questions asked of both."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.envelope import Place
from core.store.accounts import User
from core.store.base import Base, Id, live_index


class Identity(Base):
    """A name that a provider has for a person: `subject` at `issuer`, which together are never another one's (OpenID Connect Core 5.7).

    `shown`: what the provider called them when it was connected; people know it by that, and nothing is decided by it.
    """

    __tablename__ = "identities"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    issuer: Mapped[str]
    subject: Mapped[str] = mapped_column(sa.String(255))
    shown: Mapped[str] = mapped_column(sa.String(320))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_identities_live", "issuer", "subject", unique=True),)


class OidcFlow(Base):
    """A browser's way to the provider and back: once, for minutes. The cookie holds the state, the row its SHA-256.

    `kind`: enter or connect, the latter by `user_id` alone. `sealed`: the PKCE verifier, see core/envelope.py; who reads the table and
    sees a code cannot use it. It needs no new wrapping when keys rotate: before an older key could go, it has run out.
    """

    __tablename__ = "oidc_flows"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    state_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    kind: Mapped[str] = mapped_column(sa.String(16))
    user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    nonce: Mapped[str] = mapped_column(sa.String(128))
    sealed: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


def flow_place(ref: str) -> Place:
    """Where a verifier lies. It is a browser's, and no account's."""
    return Place("", OidcFlow.__tablename__, ref)


def identity_at(session: Session, issuer: str, subject: str) -> tuple[Identity, User] | None:
    """The live identity with this name and its person, who may be gone; held until the transaction ends."""
    where = (Identity.issuer == issuer, Identity.subject == subject, Identity.deleted_at.is_(None))
    found = session.execute(sa.select(Identity, User).join(User, User.id == Identity.user_id).where(*where).with_for_update()).first()
    return (found[0], found[1]) if found is not None else None


def identity_of(session: Session, user_id: int, issuer: str) -> Identity | None:
    """A person's live identity at this provider."""
    where = (Identity.user_id == user_id, Identity.issuer == issuer, Identity.deleted_at.is_(None))
    return session.scalar(sa.select(Identity).where(*where).order_by(Identity.id).limit(1))


def has_way_in() -> sa.ColumnElement[bool]:
    """Whether a user can sign in: by a password, or by an identity. Who chose neither yet cannot."""
    return sa.or_(User.password_hash != "", sa.exists().where(Identity.user_id == User.id, Identity.deleted_at.is_(None)))


def purge_flows(session: Session, now: datetime, *, most: int = 1_000) -> None:
    """Drop ways that ran out, some at a time. They are nobody's work."""
    old = sa.select(OidcFlow.id).where(OidcFlow.expires_at < now).limit(most)
    session.execute(sa.delete(OidcFlow).where(OidcFlow.id.in_(old)).execution_options(synchronize_session=False))
