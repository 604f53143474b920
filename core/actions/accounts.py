"""Setting up, users, and signing in and out."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.letters import end_letters, tell_by_mail
from core.actions.passwords import Checked, PasswordHash, require_password
from core.actions.policy import Actor, NotAllowed, Refused, require_person, require_terminal
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
from core.store.attempts import FailedAttempt, purge_attempts
from core.store.base import new_ref
from core.store.db import rowcount
from core.store.disablings import open_disabling
from core.store.factors import has_factor
from core.store.letters import Letter
from core.store.teams import own_accounts
from core.store.watches import STATES, WatchTally

LINK_LASTS = timedelta(hours=24)
SIGN_IN_LASTS = timedelta(hours=12)
STAYS_FOR = timedelta(days=14)
"""Of who asked to stay signed in."""
HALF_LASTS = timedelta(minutes=10)
Kind = Literal["setup", "welcome"]
CHANGED: Final = (
    "Your password was changed, and every other sign-in of yours has ended. If it was not you, somebody knows your password or reads your "
    'mail: choose a new one at once by "Forgotten?" on the sign-in page, and tell the operator.'
)
_EMAIL = re.compile(r"[^@\s<>\"',;:\\()\[\]\x00-\x1f\x7f]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")


_GONE: Final[dict[Kind, str]] = {
    "setup": "This link was used already or has run out. Start KeyChest again to get a new one.",
    "welcome": "This link was used already or has run out. Ask the operator for a new one.",
}


@dataclass(frozen=True, slots=True)
class NewSignIn:
    """A fresh sign-in: `token` goes into the cookie and is kept nowhere else."""

    token: str
    user_id: int
    factor_due: bool = False
    """The second factor is still to come: the token opens the question for it, and nothing else."""
    stay: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """What a person will know a sign-in by: "Firefox on Linux" and "192.0.2.0/24"; "" for what is not known."""

    browser: str = ""
    network: str = ""


UNKNOWN: Final = Caller()


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
    user = create_person(session, email, operator=operator, now=now)
    token = _link(session, "welcome", user.id, now)
    append(session, Event("user.created.v1", now, actor.name, public={"operator": operator}, private={"user": user.ref}))
    return token


def issue_welcome_link(session: Session, actor: Actor, *, email: str, now: datetime) -> str:
    """A new token for `/welcome/<token>`, where a user who is there already chooses a new password. Raises Refused."""
    require_terminal(actor)
    user = user_by_email(session, email)
    if user is None:
        raise Refused("There is no user with this address. Make one with ./keychest user create. Nothing was changed.", "email")
    if open_disabling(session, user.id) is not None:
        raise Refused(
            "This user is disabled: no link lets them in. An operator enables them under Operations. Nothing was changed.", "email"
        )
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
    user = create_person(session, email, operator=True, now=now)
    user.password_hash = password_hash
    link.used_at = now
    append(session, Event("installation.set_up.v1", now, f"user:{user.ref}", private={"user": user.ref}))
    return begin_sign_in(session, user, now, caller)


def accept_welcome(session: Session, *, token: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN) -> NewSignIn:
    """The password of a user who was made at the terminal, and their first sign-in. Raises Refused, also as `open_link` does."""
    link = open_link(session, "welcome", token=token, now=now)
    user = session.get(User, link.user_id)
    if user is None or user.deleted_at is not None or open_disabling(session, user.id) is not None:
        raise Refused(_GONE["welcome"])
    keep_password(session, user, password_hash, now)
    append(session, Event("password.chosen.v1", now, f"user:{user.ref}"))
    return begin_sign_in(session, user, now, caller)


def sign_in(session: Session, *, checked: Checked, now: datetime, caller: Caller = UNKNOWN, stay: bool = False) -> NewSignIn | None:
    """A new sign-in; None for a wrong address or password, and for one that was changed since it was checked."""
    user = user_by_email(session, checked.kept.email)
    if user is None or not checked.right or user.password_hash != checked.kept.password_hash:
        note_failed(session, "password", user.id if user is not None else None, caller, now)
        append(session, Event("sign_in.failed.v1", now, "nobody", private={"user": user.ref if user is not None else ""}))
        return None
    if checked.stronger is not None:
        user.password_hash = checked.stronger
    fresh = begin_sign_in(session, user, now, caller, stay=stay)
    if not fresh.factor_due:
        append(session, Event("user.signed_in.v1", now, f"user:{user.ref}", public={"factor": ""}))
    return fresh


def note_failed(session: Session, kind: Literal["password", "code"], user_id: int | None, caller: Caller, now: datetime) -> None:
    """What its person sees under Security. It is written for addresses that nobody has as well: both are the same work."""
    session.add(FailedAttempt(user_id=user_id, kind=kind, network=caller.network[:64], at=now))
    session.flush()
    purge_attempts(session, now)


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
    wrong = Refused("This is not your password as it is now. Nothing was changed.", "current")
    user = require_password(session, require_person(actor), checked, wrong)
    keep_password(session, user, password_hash, now, keep=keep)
    tell_by_mail(session, user.email, "Your password for KeyChest was changed", CHANGED, now=now)
    append(session, Event("password.changed.v1", now, actor.name))


def sign_out(session: Session, actor: Actor, *, session_id: int, now: datetime) -> None:
    """The sign-in ends on the server: its cookie is worth nothing from now on."""
    row = session.get(LoginSession, session_id)
    if row is None or row.user_id != actor.user_id or row.ended_at is not None:
        return
    row.ended_at = now
    append(session, Event("user.signed_out.v1", now, actor.name))


def switch_account(session: Session, actor: Actor, *, ref: str, sign_in_id: int) -> str | None:
    """The name of the account of the actor's that they look at from now on, in this sign-in; None where they belong to none such."""
    mine = next((each for each in own_accounts(session, require_person(actor)) if each.ref == ref), None)
    if mine is None:
        return None
    look_at(session, sign_in_id, mine.id)
    return mine.name


def look_at(session: Session, sign_in_id: int, account_id: int) -> None:
    """Which account this sign-in looks at from now on."""
    session.execute(sa.update(LoginSession).where(LoginSession.id == sign_in_id).values(account_id=account_id))


def begin_sign_in(session: Session, user: User, now: datetime, caller: Caller, *, stay: bool = False, proven: bool = False) -> NewSignIn:
    """A sign-in of this person's: a half one where they have a second factor that they have not `proven` yet.

    It lasts a day's work, or for `stay` two weeks.
    """
    token = secrets.token_urlsafe(32)
    due = not proven and has_factor(session, user.id)
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
            expires_at=now + (HALF_LASTS if due else STAYS_FOR if stay else SIGN_IN_LASTS),
            ended_at=None,
            factor_due=due,
        )
    )
    session.flush()
    return NewSignIn(token, user.id, factor_due=due, stay=stay)


def keep_password(session: Session, user: User, password_hash: PasswordHash, now: datetime, *, keep: int = 0) -> None:
    """From now on this is the password. Every sign-in but `keep` ends by it, and every link to choose one by."""
    user.password_hash = password_hash
    others = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None), LoginSession.id != keep)
    session.execute(sa.update(LoginSession).where(*others).values(ended_at=now))
    session.execute(sa.update(OneTimeLink).where(OneTimeLink.user_id == user.id, OneTimeLink.used_at.is_(None)).values(used_at=now))
    end_letters(session, sa.and_(Letter.kind == "reset", Letter.email == user.email), now=now)


def create_person(session: Session, email: str, *, operator: bool, now: datetime) -> User:
    """A user without a password, who owns a new account. Raises Refused where there is one with this address."""
    email = email.strip().lower()
    require_address(email)
    if user_by_email(session, email) is not None:
        raise Refused(f"There is a user {email} already. Nothing was changed.", "email")
    user = User(ref=new_ref(), email=email, installation_role="operator" if operator else "", created_at=now, deleted_at=None)
    session.add(user)
    session.flush()
    open_account(session, user, email.partition("@")[2], now)
    return user


def open_account(session: Session, user: User, name: str, now: datetime) -> Account:
    """A new account that this person owns, with nothing in it."""
    account = Account(ref=new_ref(), name=name, created_at=now, deleted_at=None)
    session.add(account)
    session.flush()
    session.add(Membership(account_id=account.id, user_id=user.id, role="owner", created_at=now, deleted_at=None))
    session.add_all([WatchTally(account_id=account.id, state=state, watches=0) for state in STATES])
    session.flush()
    return account


def require_address(email: str) -> None:
    """Raises Refused for what no mail could be sent to: a message is addressed with the very same class."""
    if not email.partition("@")[0].isascii():
        raise Refused("KeyChest cannot send mail to an address with letters like ö before the @. Use one that has a to z only.", "email")
    if len(email) <= 254 and _EMAIL.fullmatch(email):  # noqa: PLR2004 - RFC 5321 section 4.5.3.1.3
        with suppress(HeaderParseError, ValueError, IndexError):  # its parser runs off the end of some
            Address(addr_spec=email)
            return
    raise Refused("This is not an e-mail address. Write it like mira@example.org.", "email")
