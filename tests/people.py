"""People whom tests make: with an account, in somebody else's, with a password that is checked, with an app that shows codes."""

from __future__ import annotations

import base64
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy.orm import Session

from core.actions import team
from core.actions.accounts import accept_welcome, create_user
from core.actions.passwords import Checked, check_password, hash_password, kept_of
from core.actions.policy import Actor
from core.store.accounts import Account, User, first_account, user_by_email
from core.store.db import Sessions
from tests.make import NOW, TERMINAL

PASSWORD = "four or five words"
HASH = hash_password(PASSWORD)


def person(session: Session, email: str) -> tuple[Actor, str]:
    """An owner of a fresh account, and the token of their sign-in."""
    link = create_user(session, TERMINAL, email=email, operator=False, now=NOW)
    fresh = accept_welcome(session, token=link, password_hash=HASH, now=NOW)
    user = user_by_email(session, email)
    assert user is not None
    account = session.get_one(Account, first_account(session, user.id))
    return Actor(user_id=user.id, user_ref=user.ref, account_id=account.id, account_ref=account.ref, role="owner"), fresh.token


def joined(session: Session, owner: Actor, email: str, role: str) -> tuple[Actor, str]:
    """Somebody new who accepted the owner's invitation."""
    token = team.invite(session, owner, email=email, role=role, days=7, now=NOW)
    fresh = team.join_as_new(session, token=token, password_hash=HASH, now=NOW)
    user = session.get_one(User, fresh.user_id)
    return Actor(user_id=user.id, user_ref=user.ref, account_id=owner.account_id, account_ref=owner.account_ref, role=role), fresh.token


def proof(sessions: Sessions, email: str, password: str = PASSWORD) -> Checked:
    """A password that they typed, compared with what is kept."""
    with sessions.reading() as session:
        kept = kept_of(session, email)
    return check_password(kept, password)


def shown(secret: str, at: datetime) -> str:
    """What an app with this secret shows, RFC 6238."""
    return TOTP(base64.b32decode(secret), 6, SHA1(), 30).generate(int(at.timestamp())).decode()
