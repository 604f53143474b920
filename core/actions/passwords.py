"""Passwords: what is kept of one, and whether somebody knows it.

Hashing takes a tenth of a second on purpose, so it is done with no session open: nobody waits for the one writer meanwhile.
"""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass
from typing import NewType

import argon2
from sqlalchemy.orm import Session

from core.actions.policy import Refused
from core.store.accounts import User, user_by_email

PASSWORD_LEAST = 12
PASSWORD_MOST = 1024
PasswordHash = NewType("PasswordHash", str)
_HASHER = argon2.PasswordHasher()


@functools.cache
def _nobody() -> str:
    """A hash that is verified for unknown addresses, so that both answers take as long. Made when first needed: it is dear."""
    return _HASHER.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the person with this address. `password_hash` is "" where nobody can sign in with it, or they are kept out."""

    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A password that was compared with what was kept. `stronger` is its hash by today's measure; None where the kept one meets that."""

    kept: Kept
    right: bool
    stronger: PasswordHash | None = None


def hash_password(password: str) -> PasswordHash:
    """What is kept of a new password. Raises Refused for one that is too short or too long. Call it with no session open."""
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise Refused(f"Choose a password of at least {PASSWORD_LEAST} characters. Four or five words are good.", "password")
    return PasswordHash(_HASHER.hash(password))


def kept_of(session: Session, email: str) -> Kept:
    """What `check_password` compares with."""
    user = user_by_email(session, email, let_in=True)
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


def require_password(session: Session, user_id: int, checked: Checked, refusal: Refused) -> User:
    """The person, held until the transaction ends, whose password was checked. Raises the refusal for a wrong or another one's."""
    user = session.get_one(User, user_id, with_for_update=True)
    if not checked.right or user.password_hash != checked.kept.password_hash:
        raise refusal
    return user
