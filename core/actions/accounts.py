"""Setting up, users, and signing in and out.

Hashing a password takes a tenth of a second on purpose, so it is done with no session open: nobody waits for the one writer meanwhile.
"""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Final, Literal, NewType

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, NotAllowed, require_person, require_terminal
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
from core.store.db import rowcount
from core.store.watches import STATES, WatchTally

LINK_LASTS = timedelta(hours=24)
SIGN_IN_LASTS = timedelta(days=14)
PASSWORD_LEAST = 12
PASSWORD_MOST = 1024
Kind = Literal["setup", "welcome"]
PasswordHash = NewType("PasswordHash", str)
_HASHER = argon2.PasswordHasher()
_EMAIL = re.compile(r"[^@\s<>\"',;:\\()\[\]\x00-\x1f\x7f]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")


_GONE: Final[dict[Kind, str]] = {
    "setup": "This link was used already or has run out. Start KeyChest again to get a new one.",
    "welcome": "This link was used already or has run out. Ask the operator for a new one.",
}


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


@dataclass(frozen=True, slots=True)
class Caller:
    """What a person will know a sign-in by: "Firefox on Linux" and "192.0.2.0/24"; "" for what is not known."""

    browser: str = ""
    network: str = ""


UNKNOWN: Final = Caller()


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the person with this address. `password_hash` is "" where nobody can sign in with it."""

    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A password that was compared with what was kept. `stronger` is its hash by today's measure; None where the kept one meets that."""

    kept: Kept
    right: bool
    stronger: PasswordHash | None = None


def token_sha256(token: str) -> str:
    """What a token is stored as. A 256-bit random token needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _link(session: Session, kind: Kind, user_id: int | None, now: datetime) -> str:
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


def issue_welcome_link(session: Session, actor: Actor, *, email: str, now: datetime) -> str:
    """A new token for `/welcome/<token>`, where a user who is there already chooses a new password. Raises Refused."""
    require_terminal(actor)
    user = user_by_email(session, email)
    if user is None:
        raise Refused("There is no user with this address. Make one with ./keychest user create. Nothing was changed.", "email")
    token = _link(session, "welcome", user.id, now)
    append(session, Event("welcome_link.issued.v1", now, actor.name, private={"user": user.ref}))
    return token


def open_link(session: Session, kind: Kind, *, token: str, now: datetime) -> OneTimeLink:
    """The link that lets somebody in. Raises Refused; a link works once, for a day, and a setup link for nobody once an operator exists."""
    link = usable_link(session, token_sha256(token), now)
    if link is None or link.kind != kind or (kind == "setup" and operator_exists(session)):
        raise Refused(_GONE[kind])
    return link


def set_up_operator(
    session: Session, *, token: str, email: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN
) -> NewSignIn:
    """The first operator, with an account, signed in. Raises Refused, also as `open_link` does."""
    link = open_link(session, "setup", token=token, now=now)
    user = _new_user(session, email, operator=True, now=now)
    user.password_hash = password_hash
    link.used_at = now
    append(session, Event("installation.set_up.v1", now, f"user:{user.ref}", private={"user": user.ref}))
    return begin_sign_in(session, user, now, caller)


def accept_welcome(session: Session, *, token: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN) -> NewSignIn:
    """The password of a user who was made at the terminal, and their first sign-in. Raises Refused, also as `open_link` does."""
    link = open_link(session, "welcome", token=token, now=now)
    user = session.get(User, link.user_id)
    if user is None or user.deleted_at is not None:
        raise Refused(_GONE["welcome"])
    user.password_hash = password_hash
    link.used_at = now
    session.execute(sa.update(OneTimeLink).where(OneTimeLink.user_id == user.id, OneTimeLink.used_at.is_(None)).values(used_at=now))
    session.execute(sa.update(LoginSession).where(LoginSession.user_id == user.id, LoginSession.ended_at.is_(None)).values(ended_at=now))
    append(session, Event("password.chosen.v1", now, f"user:{user.ref}"))
    return begin_sign_in(session, user, now, caller)


def hash_password(password: str) -> PasswordHash:
    """What is kept of a new password. Raises Refused for one that is too short or too long. Call it with no session open."""
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise Refused(f"Choose a password of at least {PASSWORD_LEAST} characters. Four or five words are good.", "password")
    return PasswordHash(_HASHER.hash(password))


def kept_of(session: Session, email: str) -> Kept:
    """What `check_password` compares with."""
    user = user_by_email(session, email)
    return Kept(email, user.password_hash if user is not None else "")


def check_password(kept: Kept, password: str) -> Checked:
    """Whether this is the password. Takes as long where nobody can sign in. Call it with no session open."""
    password = password[:PASSWORD_MOST]
    try:
        _HASHER.verify(kept.password_hash or _nobody(), password)
    except argon2.exceptions.VerifyMismatchError:
        return Checked(kept, right=False)
    if not kept.password_hash:
        return Checked(kept, right=False)
    weak = _HASHER.check_needs_rehash(kept.password_hash)
    return Checked(kept, right=True, stronger=PasswordHash(_HASHER.hash(password)) if weak else None)


def sign_in(session: Session, *, checked: Checked, now: datetime, caller: Caller = UNKNOWN) -> NewSignIn | None:
    """A new sign-in; None for a wrong address or password, and for one that was changed since it was checked."""
    user = user_by_email(session, checked.kept.email)
    if user is None or not checked.right or user.password_hash != checked.kept.password_hash:
        append(session, Event("sign_in.failed.v1", now, "nobody", private={"user": user.ref if user is not None else ""}))
        return None
    if checked.stronger is not None:
        user.password_hash = checked.stronger
    append(session, Event("user.signed_in.v1", now, f"user:{user.ref}"))
    return begin_sign_in(session, user, now, caller)


def end_sign_ins(session: Session, actor: Actor, *, refs: Sequence[str] | None, keep: int, now: datetime) -> int:
    """End these sign-ins of the actor's, or with None all but the one that acts (`keep`, its row's number). How many ended."""
    user_id = require_person(actor)
    where = [LoginSession.user_id == user_id, LoginSession.ended_at.is_(None), LoginSession.expires_at > now, LoginSession.id != keep]
    if refs is not None:
        where.append(LoginSession.ref.in_(list(refs)))
    ended = rowcount(session.execute(sa.update(LoginSession).where(*where).values(ended_at=now)))
    if ended:
        append(session, Event("sign_ins.ended.v1", now, actor.name, public={"sign_ins": ended}))
    return ended


def change_password(session: Session, actor: Actor, *, checked: Checked, password_hash: PasswordHash, keep: int, now: datetime) -> None:
    """Put a new password in the place of the one that was checked, and end every other sign-in. Raises Refused for a wrong one."""
    user = session.get_one(User, require_person(actor), with_for_update=True)
    if not checked.right or user.password_hash != checked.kept.password_hash:
        raise Refused("This is not your password as it is now. Nothing was changed.", "current")
    user.password_hash = password_hash
    others = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None), LoginSession.id != keep)
    session.execute(sa.update(LoginSession).where(*others).values(ended_at=now))
    session.execute(sa.update(OneTimeLink).where(OneTimeLink.user_id == user.id, OneTimeLink.used_at.is_(None)).values(used_at=now))
    append(session, Event("password.changed.v1", now, actor.name))


def sign_out(session: Session, actor: Actor, *, session_id: int, now: datetime) -> None:
    """The sign-in ends on the server: its cookie is worth nothing from now on."""
    row = session.get(LoginSession, session_id)
    if row is None or row.user_id != actor.user_id or row.ended_at is not None:
        return
    row.ended_at = now
    append(session, Event("user.signed_out.v1", now, actor.name))


def begin_sign_in(session: Session, user: User, now: datetime, caller: Caller) -> NewSignIn:
    """A sign-in of this person's, by whatever they proved who they are."""
    token = secrets.token_urlsafe(32)
    session.add(
        LoginSession(
            ref=new_ref(),
            browser=caller.browser[:64],
            network=caller.network[:64],
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
    require_address(email)
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


def require_address(email: str) -> None:
    """Raises Refused for what no mail could be sent to: a message is addressed with the very same class."""
    if not email.partition("@")[0].isascii():
        raise Refused("KeyChest cannot send mail to an address with letters like ö before the @. Use one that has a to z only.", "email")
    if len(email) <= 254 and _EMAIL.fullmatch(email):  # noqa: PLR2004 - RFC 5321 section 4.5.3.1.3
        with suppress(HeaderParseError, ValueError, IndexError):  # its parser runs off the end of some
            Address(addr_spec=email)
            return
    raise Refused("This is not an e-mail address. Write it like mira@example.org.", "email")
