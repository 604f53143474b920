"""API tokens: make one, revoke one, and keep in mind when one was used last."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import token_sha256
from core.actions.policy import Actor, Permission, Refused, require, require_person
from core.store.accounts import User
from core.store.base import new_ref
from core.store.tokens import ApiToken, live_tokens

SCOPES: Final = ("read:domains", "read:certificates")
LIFETIMES: Final = (30, 90, 365)
"""Days that a token may last."""
MOST_LIVE: Final = 20
LONGEST_NAME: Final = 64
NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A fresh token: `token` is shown once and is kept nowhere."""

    token: str
    ref: str
    name: str


def make_token(session: Session, actor: Actor, *, name: str, days: int, scopes: Sequence[str], now: datetime) -> NewToken:
    """A token that reads the actor's account in their name. Raises Refused for a name, scopes or days that cannot be, and for too many."""
    account_id = require(actor, Permission.MAKE_TOKENS)
    user = session.get_one(User, require_person(actor), with_for_update=True)  # two at once are counted one after the other
    name = name.strip()
    _require_plain(name, days, scopes)
    own = (ApiToken.account_id == account_id, ApiToken.user_id == user.id, *live_tokens(now))
    if (session.scalar(sa.select(sa.func.count()).select_from(ApiToken).where(*own)) or 0) >= MOST_LIVE:
        raise Refused(f"You have {MOST_LIVE} tokens in this account, which is the most. Nothing was made. Revoke one first.", "name")
    shown = "kc_" + new_ref()[:8]
    token = f"{shown}_{secrets.token_urlsafe(32)}"
    row = ApiToken(
        ref=new_ref(),
        account_id=account_id,
        user_id=user.id,
        name=name,
        prefix=shown,
        token_sha256=token_sha256(token),
        scopes=[scope for scope in SCOPES if scope in scopes],
        created_at=now,
        expires_at=now + timedelta(days=days),
        last_used_at=None,
        revoked_at=None,
    )
    session.add(row)
    session.flush()
    public: dict[str, str | int | bool] = {"token": row.ref, "days": days, "scopes": ", ".join(row.scopes)}
    append(session, Event("api_token.made.v1", now, actor.name, actor.account_ref, public))
    return NewToken(token, row.ref, name)


def revoke_token(session: Session, actor: Actor, *, ref: str, now: datetime) -> str | None:
    """End a token of one's own, or as an owner anybody's in the account. Its name; None where there is no such token."""
    account_id = require(actor, Permission.MAKE_TOKENS)
    where = [ApiToken.ref == ref, ApiToken.account_id == account_id, *live_tokens(now)]
    if actor.role != "owner":
        where.append(ApiToken.user_id == require_person(actor))
    token = session.scalar(sa.select(ApiToken).where(*where).with_for_update())
    if token is None:
        return None
    token.revoked_at = now
    append(session, Event("api_token.revoked.v1", now, actor.name, actor.account_ref, {"token": token.ref}))
    return token.name


def note_due(last_used_at: datetime | None, now: datetime) -> bool:
    """Whether a use is worth a write: at most one a minute."""
    return last_used_at is None or last_used_at <= now - NOTED_EVERY


def note_token_use(session: Session, *, token_id: int, network: str, now: datetime) -> None:
    """Keep when and from which network a token was used last, at most once a minute."""
    stale = sa.or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at <= now - NOTED_EVERY)
    session.execute(sa.update(ApiToken).where(ApiToken.id == token_id, stale).values(last_used_at=now, last_network=network[:64]))


def _require_plain(name: str, days: int, scopes: Sequence[str]) -> None:
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Refused(f"A name has 1 to {LONGEST_NAME} visible characters. Nothing was made.", "name")
    if days not in LIFETIMES:
        raise Refused("A token lasts 30, 90 or 365 days. Nothing was made. Choose one of them.", "days")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise Refused("Nothing was made. Choose what the token may read: at least one of these.", "scope")
