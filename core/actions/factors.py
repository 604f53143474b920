"""A second factor: setting an authenticator app up, giving it up, recovery codes, and signing in with either.

A code of an app works once, also in parallel: the row remembers its time step. Between password and code somebody is half signed in,
which opens nothing but the question for the code, for ten minutes and five tries.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import UNKNOWN, Caller, NewSignIn, begin_sign_in, note_failed
from core.actions.letters import tell_by_mail
from core.actions.passkeys import drop_passkeys
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Refused, require_person, require_terminal
from core.actions.recovery_codes import code_used, end_codes, fresh_codes
from core.envelope import KeyFile
from core.store.accounts import LoginSession, User, user_by_email
from core.store.base import new_ref
from core.store.db import rowcount
from core.store.exports import ExportPlan, plan_place, sealed_plans
from core.store.factors import Factor, factor_of, factor_place, half_signed_in, has_factor, sealed_factors, wrong_codes

TRIES: Final = 5
AN_HOUR: Final = 20
"""So many wrong codes are looked at for one person in an hour: of a million, three are right at a time."""
STEP_S: Final = 30
DRIFT: Final = 1
"""So many time steps may an app's clock be off, either way."""
_DIGITS: Final = 6
_ISSUER: Final = "KeyChest"
_NOT_YOU: Final = "If it was not you, choose a new password at once, and tell the operator."
_ADDED: Final = f"Signing in needs a code from an authenticator app from now on. Every other sign-in of yours has ended. {_NOT_YOU}"
_REMOVED: Final = f"Your second factor was taken away: your password alone signs you in. {_NOT_YOU}"
_PASSKEYS_LEFT: Final = f"Your authenticator app was taken away: your passkeys and recovery codes remain. {_NOT_YOU}"
_MANY: Final = (
    "Too many wrong codes were tried in your name. Use a recovery code now, or wait an hour. If it was not you, choose a new password: "
    "somebody knows yours."
)
_WRONG: Final = "This is not the code that your app shows now. Wait for the next one, and look whether the clock of the device is right."


@dataclass(frozen=True, slots=True)
class NewApp:
    """What an authenticator app is set up with: the secret as people type it, and the address that a QR code holds."""

    secret: str
    uri: str


def begin_app(session: Session, actor: Actor, *, checked: Checked, keys: KeyFile, now: datetime) -> NewApp:
    """A new app to set up, in the place of one that was begun and not confirmed. Raises Refused where there is one already.

    And for a wrong password: who finds somebody signed in must not lock them out with an app of their own.
    """
    user = require_password(session, require_person(actor), checked, _not_yours())
    if factor_of(session, user.id) is not None:
        raise Refused("You have an app already. Give it up first, if you want another one. Nothing was changed.")
    unconfirmed = (Factor.user_id == user.id, Factor.confirmed_at.is_(None), Factor.deleted_at.is_(None))
    session.execute(sa.update(Factor).where(*unconfirmed).values(deleted_at=now, sealed=""))
    key, ref = secrets.token_bytes(20), new_ref()  # 160 bits: RFC 4226 section 4
    sealed = keys.seal(key, factor_place(ref))
    session.add(
        Factor(ref=ref, user_id=user.id, kind="totp", sealed=sealed, created_at=now, confirmed_at=None, last_used_at=None, deleted_at=None)
    )
    append(session, Event("factor.begun.v1", now, actor.name))
    return _shown(key, user.email)


def app_begun(session: Session, actor: Actor, *, keys: KeyFile) -> NewApp | None:
    """The app that is being set up, to be shown again."""
    user = session.get_one(User, require_person(actor))
    factor = factor_of(session, user.id, confirmed=False)
    return _shown(keys.open(factor.sealed, factor_place(factor.ref)), user.email) if factor is not None else None


def confirm_app(session: Session, actor: Actor, *, keys: KeyFile, code: str, keep: int, now: datetime) -> list[str]:
    """The app counts from now on, and every other sign-in ends. The recovery codes, where it is the first factor, else none.

    Raises Refused for a wrong code.
    """
    user = session.get_one(User, require_person(actor), with_for_update=True)
    factor = factor_of(session, user.id, confirmed=False)
    if factor is None or factor_of(session, user.id) is not None:
        raise Refused("There is no app to confirm. Begin anew. Nothing was changed.", "code")
    if not _used(session, factor, keys, code, now):
        raise Refused(_WRONG, "code")
    first = not has_factor(session, user.id)
    factor.confirmed_at = now
    others = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None), LoginSession.id != keep)
    session.execute(sa.update(LoginSession).where(*others).values(ended_at=now))
    tell_by_mail(session, user.email, "KeyChest asks for a code now", _ADDED, now=now)
    append(session, Event("factor.added.v1", now, actor.name))
    return fresh_codes(session, user.id, now) if first else []


def give_up_app(session: Session, actor: Actor, *, checked: Checked, now: datetime) -> None:
    """No app is asked for from now on. Without passkeys the password alone signs in then, and recovery codes end.

    Raises Refused for a wrong password.
    """
    user = require_password(session, require_person(actor), checked, _not_yours())
    if not _app_dropped(session, user, now):
        raise Refused("You have no authenticator app here. Nothing was changed.")
    left = has_factor(session, user.id)
    tell_by_mail(session, user.email, "KeyChest asks for no app any more", _PASSKEYS_LEFT if left else _REMOVED, now=now)
    append(session, Event("factor.removed.v1", now, actor.name))


def drop_factor(session: Session, actor: Actor, *, email: str, now: datetime) -> None:
    """For who lost device and codes: the terminal takes the factor away, and every sign-in of theirs ends. Raises Refused."""
    require_terminal(actor)
    user = user_by_email(session, email)
    if user is None or not has_factor(session, user.id):
        raise Refused("There is no user with this address who has a second factor. Nothing was changed.", "email")
    drop_passkeys(session, user.id, now)
    _app_dropped(session, user, now)
    tell_by_mail(session, user.email, "KeyChest asks for no second factor any more", _REMOVED, now=now)
    theirs = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None))
    session.execute(sa.update(LoginSession).where(*theirs).values(ended_at=now))
    append(session, Event("factor.dropped.v1", now, actor.name, private={"user": user.ref}))


def new_codes(session: Session, actor: Actor, *, checked: Checked, now: datetime) -> list[str]:
    """Ten recovery codes in the place of those there were. Raises Refused for a wrong password, and where there is no factor."""
    user = require_password(session, require_person(actor), checked, _not_yours("codes_proof"))
    if not has_factor(session, user.id):
        raise Refused("Recovery codes belong to a second factor, and you have none. Nothing was changed.")
    append(session, Event("recovery_codes.made.v1", now, actor.name))
    return fresh_codes(session, user.id, now)


def pass_factor(
    session: Session, *, token_sha256: str, code: str, keys: KeyFile, now: datetime, caller: Caller = UNKNOWN, stay: bool = False
) -> NewSignIn | None:
    """The whole sign-in of somebody who is half signed in, with a token of its own; None for a wrong code.

    Raises Refused once they are not half signed in any more, too late or tried too often; and while too many codes were tried in their
    name, however often its guesser began anew: recovery codes, which nobody guesses, go on working.
    """
    half = half_signed_in(session, token_sha256, now)
    if half is None:
        raise Refused("This took too long, or was tried too often. Sign in again.")
    user = session.get_one(User, half.user_id, with_for_update=True)
    row = session.get_one(LoginSession, half.session_id, with_for_update=True, populate_existing=True)
    if row.ended_at is not None:
        raise Refused("This took too long, or was tried too often. Sign in again.")
    by = "code" if code_used(session, user.id, code, now) else "app" if _app_shows(session, user, code, keys, now) else ""
    if not by:
        row.tries += 1
        row.ended_at = now if row.tries >= TRIES else None
        note_failed(session, "code", user.id, caller, now)
        append(session, Event("factor.failed.v1", now, f"user:{user.ref}"))
        return None
    row.ended_at = now
    append(session, Event("user.signed_in.v1", now, f"user:{user.ref}", public={"factor": by}))
    return begin_sign_in(session, user, now, caller, stay=stay, proven=True)


def rewrap_secrets(session: Session, actor: Actor, *, keys: KeyFile, now: datetime) -> int:
    """How many secrets were wrapped anew by the newest key. Raises NotAllowed but at the terminal, and core.envelope.NotOpenedError."""
    require_terminal(actor)
    wrapped = 0
    for number, ref, sealed in sealed_factors(session):
        as_it_was = (Factor.id == number, Factor.sealed == sealed)  # else its person gave it up meanwhile
        anew = keys.rewrapped(sealed, factor_place(ref))
        wrapped += rowcount(session.execute(sa.update(Factor).where(*as_it_was).values(sealed=anew)))
    for number, account_ref, ref, sealed in sealed_plans(session):
        still = (ExportPlan.id == number, ExportPlan.sealed == sealed)
        anew = keys.rewrapped(sealed, plan_place(account_ref, ref))
        wrapped += rowcount(session.execute(sa.update(ExportPlan).where(*still).values(sealed=anew)))
    append(session, Event("keys.rotated.v1", now, actor.name, public={"secrets": wrapped}))
    return wrapped


def _app_shows(session: Session, user: User, code: str, keys: KeyFile, now: datetime) -> bool:
    if wrong_codes(session, user.id, now - timedelta(hours=1)) >= AN_HOUR:
        raise Refused(_MANY, "code")
    factor = factor_of(session, user.id)
    return factor is not None and _used(session, factor, keys, code, now)


def _not_yours(field: str = "proof") -> Refused:
    return Refused("This is not your password. Nothing was changed.", field)


def _shown(key: bytes, email: str) -> NewApp:
    return NewApp(base64.b32encode(key).decode(), _totp(key).get_provisioning_uri(email, _ISSUER))


def _totp(key: bytes) -> TOTP:
    """SHA-1, six digits, thirty seconds: what every app can do (RFC 6238; HMAC does not lean on collisions)."""
    return TOTP(key, _DIGITS, SHA1(), STEP_S)  # noqa: S303 - as above


def _used(session: Session, factor: Factor, keys: KeyFile, code: str, now: datetime) -> bool:
    """Whether this is a code of the app's, not used before; it is used now."""
    code = "".join(code.split())
    if len(code) != _DIGITS or not (code.isascii() and code.isdecimal()):
        return False
    totp, at = _totp(keys.open(factor.sealed, factor_place(factor.ref))), int(now.timestamp()) // STEP_S
    fits = [step for step in range(at - DRIFT, at + DRIFT + 1) if secrets.compare_digest(totp.generate(step * STEP_S), code.encode())]
    if not fits:
        return False
    fresh = (Factor.id == factor.id, Factor.last_step < fits[-1])
    return rowcount(session.execute(sa.update(Factor).where(*fresh).values(last_step=fits[-1], last_used_at=now))) == 1


def _app_dropped(session: Session, user: User, now: datetime) -> bool:
    """Whether they had an app. It is gone now, and with the last factor the recovery codes are."""
    had = factor_of(session, user.id) is not None
    mine = (Factor.user_id == user.id, Factor.deleted_at.is_(None))
    session.execute(sa.update(Factor).where(*mine).values(deleted_at=now, sealed=""))
    if not has_factor(session, user.id):
        end_codes(session, user.id, now)
    return had
