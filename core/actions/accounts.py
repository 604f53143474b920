"""Setting up, users, and signing in and out."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import argon2
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, NotAllowed, require_terminal
from core.store.accounts import (
    Account,
    LoginSession,
    Membership,
    OneTimeLink,
    User,
    first_account,
    operator_exists,
    usable_link,
    user_by_email,
)
from core.store.base import new_ref
from core.store.watches import STATES, WatchTally

LINK_LASTS = timedelta(hours=24)
SIGN_IN_LASTS = timedelta(days=14)
PASSWORD_LEAST = 12
PASSWORD_MOST = 1024
_HASHER = argon2.PasswordHasher()
_EMAIL = re.compile(r"[^@\s<>\"',;:\\()\[\]\x00-\x1f\x7f]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")


class Refused(ValueError):  # noqa: N818 - a refusal in words
    """What was asked cannot be done. `field` names the input it is about; the message says what to do."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@functools.cache
def _nobody() -> str:
    """A hash that is verified for unknown addresses, so that both answers take as long. Made when first needed: it is dear."""
    return _HASHER.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class NewSignIn:
    """A fresh sign-in: `token` goes into the cookie and is kept nowhere else."""

    token: str
    user_id: int


def token_sha256(token: str) -> str:
    """What a token is stored as. A 256-bit random token needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _link(session: Session, kind: str, user_id: int | None, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    session.add(
        OneTimeLink(kind=kind, token_sha256=token_sha256(token), user_id=user_id, created_at=now, expires_at=now + LINK_LASTS, used_at=None)
    )
    session.flush()
    return token


def issue_setup_link(session: Session, actor: Actor, *, now: datetime) -> str:
    """A token for `/setup/<token>`, by which the first operator sets the installation up. Raises NotAllowed once there is one."""
    require_terminal(actor)
    if operator_exists(session):
        raise NotAllowed("This installation has an operator already. Sign in, or use ./keychest user create.")
    token = _link(session, "setup", None, now)
    append(session, Event("setup_link.issued.v1", now, actor.name))
    return token


def create_user(session: Session, actor: Actor, *, email: str, operator: bool, now: datetime) -> str:
    """A user with an account of their own; returns a token for `/welcome/<token>`, where they choose a password. Raises Refused."""
    require_terminal(actor)
    user = _new_user(session, email, operator=operator, now=now)
    token = _link(session, "welcome", user.id, now)
    append(session, Event("user.created.v1", now, actor.name, public={"operator": operator}, private={"user": user.ref}))
    return token


def set_up_operator(session: Session, *, token: str, email: str, password: str, now: datetime) -> NewSignIn:
    """The first operator, with an account, signed in. Raises Refused; a link works once, and for nobody once an operator exists."""
    link = usable_link(session, token_sha256(token), now)
    if link is None or link.kind != "setup" or operator_exists(session):
        raise Refused("This link was used already or has run out. Start KeyChest again to get a new one.")
    _check_password(password)
    user = _new_user(session, email, operator=True, now=now)
    user.password_hash = _HASHER.hash(password)
    link.used_at = now
    append(session, Event("installation.set_up.v1", now, f"user:{user.ref}", private={"user": user.ref}))
    return _sign_in(session, user, now)


def accept_welcome(session: Session, *, token: str, password: str, now: datetime) -> NewSignIn:
    """The password of a user who was made at the terminal, and their first sign-in. Raises Refused."""
    link = usable_link(session, token_sha256(token), now)
    user = session.get(User, link.user_id) if link is not None and link.kind == "welcome" else None
    if link is None or user is None or user.deleted_at is not None:
        raise Refused("This link was used already or has run out. Ask the operator for a new one.")
    _check_password(password)
    user.password_hash = _HASHER.hash(password)
    link.used_at = now
    append(session, Event("password.chosen.v1", now, f"user:{user.ref}"))
    return _sign_in(session, user, now)


def sign_in(session: Session, *, email: str, password: str, now: datetime) -> NewSignIn | None:
    """A new sign-in; None for a wrong address or password, told apart neither by the answer nor by its duration."""
    user = user_by_email(session, email)
    known = user is not None and user.password_hash != ""
    try:
        _HASHER.verify(user.password_hash if user is not None and known else _nobody(), password[:PASSWORD_MOST])
    except argon2.exceptions.VerifyMismatchError:
        known = False
    if user is None or not known:
        append(session, Event("sign_in.failed.v1", now, "nobody", private={"user": user.ref if user is not None else ""}))
        return None
    if _HASHER.check_needs_rehash(user.password_hash):
        user.password_hash = _HASHER.hash(password)
    append(session, Event("user.signed_in.v1", now, f"user:{user.ref}"))
    return _sign_in(session, user, now)


def sign_out(session: Session, actor: Actor, *, session_id: int, now: datetime) -> None:
    """The sign-in ends on the server: its cookie is worth nothing from now on."""
    row = session.get(LoginSession, session_id)
    if row is None or row.user_id != actor.user_id or row.ended_at is not None:
        return
    row.ended_at = now
    append(session, Event("user.signed_out.v1", now, actor.name))


def _sign_in(session: Session, user: User, now: datetime) -> NewSignIn:
    token = secrets.token_urlsafe(32)
    session.add(
        LoginSession(
            token_sha256=token_sha256(token),
            user_id=user.id,
            account_id=first_account(session, user.id),
            created_at=now,
            last_seen_at=now,
            expires_at=now + SIGN_IN_LASTS,
            ended_at=None,
        )
    )
    session.flush()
    return NewSignIn(token, user.id)


def _new_user(session: Session, email: str, *, operator: bool, now: datetime) -> User:
    email = email.strip().lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email):  # noqa: PLR2004 - RFC 5321 section 4.5.3.1.3
        raise Refused("This is not an e-mail address. Write it like mira@example.org.", "email")
    if user_by_email(session, email) is not None:
        raise Refused(f"There is a user {email} already. Nothing was changed.", "email")
    user = User(ref=new_ref(), email=email, installation_role="operator" if operator else "", created_at=now, deleted_at=None)
    account = Account(ref=new_ref(), name=email.partition("@")[2], created_at=now, deleted_at=None)
    session.add_all([user, account])
    session.flush()
    session.add(Membership(account_id=account.id, user_id=user.id, role="owner", created_at=now, deleted_at=None))
    session.add_all([WatchTally(account_id=account.id, state=state, watches=0) for state in STATES])
    session.flush()
    return user


def _check_password(password: str) -> None:
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise Refused(f"Choose a password of at least {PASSWORD_LEAST} characters. Four or five words are good.", "password")
