"""Mails that did not arrive, or of which nobody knows: to whom, about what, why. Never their text, and never a tenant's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.accounts import Account, User
from core.store.backups import Alarm, AlarmMail
from core.store.incidents import Notice
from core.store.letters import Letter

LETTERS: Final[Mapping[str, str]] = {
    "reset": "A link to choose a new password by",
    "sign_up": "A link to come in by",
    "invitation": "An invitation",
    "email_old": "A change of address, to the old one",
    "email_new": "A change of address, to the new one",
    "status_confirm": "A question whether somebody wants public incidents by mail",
    "status_told": "A public incident",
}
_NOBODY_S: Final = frozenset({"status_confirm", "status_told"})
"""Of these nobody is shown who got them."""
NOTICES: Final[Mapping[str, str]] = {
    "expiring": "A certificate ends soon",
    "ended": "A certificate has ended",
    "bad": "Something needs attention",
    "well": "Something is well again",
}


@dataclass(frozen=True, slots=True)
class Undelivered:
    """One mail. `state`: "failed" (given up), "trying" (failed, and is tried again at `due_at`), or "unsure".

    `account` is the name of the account it belongs to, "" for one that belongs to a person alone.
    """

    email: str
    about: str
    account: str
    at: datetime
    state: str
    attempts: int
    due_at: datetime
    error: str


def undelivered(session: Session, *, until: datetime | None, skip: int, most: int) -> tuple[Undelivered, ...]:
    """All of the installation's, newest first; `until` and `skip` as `portal.cursors.read_place` gives them."""
    every = [*_letters(session, until, skip + most), *_notices(session, until, skip + most), *_alarms(session, until, skip + most)]
    return tuple(sorted(every, key=lambda each: each.at, reverse=True)[skip : skip + most])


def undelivered_letters(session: Session, account_id: int, *, most: int) -> tuple[Undelivered, ...]:
    """Letters of an account, newest first."""
    return tuple(_letters(session, None, most, Letter.account_id == account_id))


def _letters(session: Session, until: datetime | None, most: int, *where: sa.ColumnElement[bool]) -> Iterable[Undelivered]:
    trying = sa.and_(Letter.ended_at.is_(None), Letter.last_error != "")
    asked = sa.select(Letter, Account.name).outerjoin(Account, Account.id == Letter.account_id)
    asked = asked.where(*where, sa.or_(Letter.outcome.in_(("failed", "unsure")), trying))
    if until is not None:
        asked = asked.where(Letter.created_at <= until)
    for letter, account in session.execute(asked.order_by(Letter.created_at.desc(), Letter.id.desc()).limit(most)):
        about = LETTERS.get(letter.kind) or str(letter.words.get("subject", "A letter"))
        error = letter.last_error or ("It could not be sent in its time." if letter.outcome == "failed" else "")
        email = "a subscriber" if letter.kind in _NOBODY_S else letter.email
        error = error.replace(letter.email, email)
        yield Undelivered(email, about, account or "", letter.created_at, letter.outcome or "trying", letter.attempts, letter.due_at, error)


def _notices(session: Session, until: datetime | None, most: int) -> Iterable[Undelivered]:
    trying = sa.and_(Notice.handed_at.is_(None), Notice.last_error != "")
    open_still = (Notice.sent_at.is_(None), Notice.cancelled_at.is_(None))
    unsure = sa.and_(Notice.handed_at.is_not(None), Notice.lease_until.is_(None))
    asked = sa.select(Notice, User.email, Account.name).join(User, User.id == Notice.user_id).join(Account, Account.id == Notice.account_id)
    asked = asked.where(*open_still, sa.or_(trying, unsure))
    if until is not None:
        asked = asked.where(Notice.created_at <= until)
    for notice, email, account in session.execute(asked.order_by(Notice.created_at.desc(), Notice.id.desc()).limit(most)):
        state = "unsure" if notice.handed_at is not None else "trying"
        yield Undelivered(
            email,
            NOTICES.get(notice.kind, "A notice"),
            account,
            notice.created_at,
            state,
            notice.attempts,
            notice.due_at,
            notice.last_error,
        )


def _alarms(session: Session, until: datetime | None, most: int) -> Iterable[Undelivered]:
    asked = (
        sa.select(AlarmMail, Alarm.opened_at, User.email)
        .join(Alarm, Alarm.id == AlarmMail.alarm_id)
        .join(User, User.id == AlarmMail.user_id)
    )
    asked = asked.where(AlarmMail.sent_at.is_(None), AlarmMail.last_error != "")
    if until is not None:
        asked = asked.where(Alarm.opened_at <= until)
    for mail, at, email in session.execute(asked.order_by(Alarm.opened_at.desc(), Alarm.id.desc()).limit(most)):
        state = "unsure" if mail.handed_at is not None else "trying"
        yield Undelivered(email, "An alarm about backups", "", at, state, mail.attempts, mail.due_at, mail.last_error)
