"""Passkeys: made, taken away, and signing in by one.

A passkey is whole by itself: its device looks at who holds it. Who has one is asked for it, or for a code, after a password too.
What a device is asked is kept and answered once, within minutes, by the browser that asked.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import UNKNOWN, Caller, NewSignIn, begin_sign_in
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Refused, require_person
from core.actions.recovery_codes import end_codes, fresh_codes
from core.net.text import one_line
from core.passkeys import ASKED_S, Asked, NotProvenError, Site, count_proven, key_named, new_key, question_to_add, question_to_enter
from core.store.accounts import LoginSession, User
from core.store.base import new_ref
from core.store.db import rowcount
from core.store.factors import HalfSignedIn, has_factor
from core.store.passkeys import MOST, Passkey, PasskeyQuestion, held_by, passkey_named, passkeys_of, purge_questions

LONGEST_NAME: Final = 64
_NOT_YOU: Final = "If it was not you, take it away under Security, choose a new password at once, and tell the operator."
_ADDED: Final = "It signs you in by itself. Your password alone does not sign you in any more."
_REMOVED: Final = "It signs you in no more."
_LATE: Final = "This took too long, or was answered already. Begin anew. Nothing was changed."


def ask_to_add_passkey(session: Session, actor: Actor, *, checked: Checked, site: Site, now: datetime) -> Asked:
    """What the actor's device is asked to make a passkey. Raises Refused for a wrong password, and for more than anybody needs."""
    user = require_password(session, require_person(actor), checked, _not_yours())
    have = held_by(session, user.id)
    if len(have) >= MOST:
        raise Refused(f"You have {MOST} passkeys already. Take one away that you do not use, then add this one.", "passkey_proof")
    asked = question_to_add(site, user_ref=user.ref, email=user.email, have=have)
    _keep(session, "add", asked, user.id, now)
    append(session, Event("passkey.begun.v1", now, actor.name))
    return asked


def add_passkey(
    session: Session, actor: Actor, *, challenge: str, answer: str, name: str, site: Site, keep: int, now: datetime
) -> list[str]:
    """Keep the passkey that the actor's device made; the recovery codes, where it is their first second factor, else none.

    Then every sign-in but `keep` ends, too. Raises Refused for an answer that does not hold, and for a key that is here already.
    """
    user = session.get_one(User, require_person(actor), with_for_update=True)
    if not _answered(session, "add", challenge, user.id, now):
        raise Refused(_LATE)
    try:
        made = new_key(site, challenge=challenge, answer=answer)
    except NotProvenError:
        raise Refused("Your device's answer does not fit what it was asked. Begin anew. Nothing was changed.") from None
    if session.scalar(sa.select(sa.exists().where(Passkey.credential_id == made.credential_id))):
        raise Refused("This passkey is known here already. Nothing was changed.")
    first, called = not has_factor(session, user.id), _called(name)
    session.add(
        Passkey(
            ref=new_ref(), user_id=user.id, name=called, credential_id=made.credential_id, public_key=made.public_key,
            sign_count=made.sign_count, transports=" ".join(made.transports), backed_up=made.backed_up, created_at=now,
            last_used_at=None, deleted_at=None,
        )
    )  # fmt: skip
    if first:
        others = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None), LoginSession.id != keep)
        session.execute(sa.update(LoginSession).where(*others).values(ended_at=now))
    session.flush()
    tell_by_mail(session, user.email, f"A passkey was added: {called}", f"{_ADDED} {_NOT_YOU}", now=now)
    append(session, Event("passkey.added.v1", now, actor.name))
    return fresh_codes(session, user.id, now) if first else []


def remove_passkey(session: Session, actor: Actor, *, ref: str, checked: Checked, now: datetime) -> str:
    """Take a passkey of the actor's away, and return its name; recovery codes end with the last factor. Raises Refused."""
    user = require_password(session, require_person(actor), checked, _not_yours())
    passkey = next((each for each in passkeys_of(session, user.id) if each.ref == ref), None)
    if passkey is None:
        raise Refused("This passkey is gone already. Nothing was changed.")
    passkey.deleted_at = now
    session.flush()
    tell_by_mail(session, user.email, f"A passkey was taken away: {passkey.name}", f"{_REMOVED} {_NOT_YOU}", now=now)
    if not has_factor(session, user.id):
        end_codes(session, user.id, now)
    append(session, Event("passkey.removed.v1", now, actor.name))
    return passkey.name


def ask_for_passkey(session: Session, *, half: HalfSignedIn | None, site: Site, now: datetime) -> Asked:
    """What a device is asked to sign somebody in: the one who is half signed in, or else whoever holds a passkey."""
    purge_questions(session, now)
    asked = question_to_enter(site, held_by(session, half.user_id) if half is not None else ())
    _keep(session, "enter", asked, half.user_id if half is not None else None, now)
    return asked


def enter_by_passkey(
    session: Session, *, challenge: str, answer: str, site: Site, now: datetime, caller: Caller = UNKNOWN, stay: bool = False
) -> NewSignIn | None:
    """A whole sign-in of the passkey's person; None for an answer that does not hold or a key that is not known.

    Raises Refused once the question has run out or was answered.
    """
    question = _answered(session, "enter", challenge, None, now)
    if question is None:
        raise Refused(_LATE)
    user = _proven(session, question, answer, site, now)
    if user is None:
        append(session, Event("passkey.failed.v1", now, "nobody"))
        return None
    halves = (LoginSession.user_id == user.id, LoginSession.factor_due.is_(True), LoginSession.ended_at.is_(None))
    if question.user_id is not None:
        session.execute(sa.update(LoginSession).where(*halves).values(ended_at=now))
    append(session, Event("user.signed_in.v1", now, f"user:{user.ref}", public={"factor": "passkey"}))
    return begin_sign_in(session, user, now, caller, stay=stay, proven=True)


def drop_passkeys(session: Session, user_id: int, now: datetime) -> int:
    """None of their passkeys works any more. How many there were."""
    mine = (Passkey.user_id == user_id, Passkey.deleted_at.is_(None))
    return rowcount(session.execute(sa.update(Passkey).where(*mine).values(deleted_at=now)))


def _proven(session: Session, question: PasskeyQuestion, answer: str, site: Site, now: datetime) -> User | None:
    """Whose passkey answered, and could answer this question."""
    try:
        named, whose = key_named(answer)
        found = passkey_named(session, named)
        if found is None:
            return None
        passkey, user = found
        if (whose and whose != user.ref) or question.user_id not in {None, user.id}:
            return None
        public_key, count = passkey.public_key, passkey.sign_count
        passkey.sign_count = count_proven(site, challenge=question.challenge, answer=answer, public_key=public_key, sign_count=count)
    except NotProvenError:
        return None
    passkey.last_used_at = now
    return user


def _keep(session: Session, kind: str, asked: Asked, user_id: int | None, now: datetime) -> None:
    until = now + timedelta(seconds=ASKED_S)
    session.add(PasskeyQuestion(challenge=asked.challenge, kind=kind, user_id=user_id, created_at=now, expires_at=until, used_at=None))
    session.flush()


def _answered(session: Session, kind: str, challenge: str, user_id: int | None, now: datetime) -> PasskeyQuestion | None:
    """The question with this challenge, answered now; None where it was answered before, has run out, or was another person's."""
    open_still = [PasskeyQuestion.challenge == challenge, PasskeyQuestion.kind == kind, PasskeyQuestion.used_at.is_(None)]
    if user_id is not None:
        open_still.append(PasskeyQuestion.user_id == user_id)
    used = sa.update(PasskeyQuestion).where(*open_still, PasskeyQuestion.expires_at > now).values(used_at=now)
    return session.scalar(used.returning(PasskeyQuestion).execution_options(populate_existing=True))


def _called(name: str) -> str:
    """What a passkey is called: what its person typed, in one line, or simply that."""
    return one_line(name)[:LONGEST_NAME] or "Passkey"


def _not_yours() -> Refused:
    return Refused("This is not your password. Nothing was changed.", "passkey_proof")
