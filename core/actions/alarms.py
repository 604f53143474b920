"""Alarms about backups: opened and closed as they are found and not found any more, each told once to every operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, require_worker
from core.channels import Delivery
from core.store.accounts import User
from core.store.backups import Alarm, AlarmMail, open_alarms
from core.store.base import new_ref
from core.store.disablings import enabled

FIRST_RETRY: Final = timedelta(minutes=1)
LAST_RETRY: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class ToTell:
    """One alarm for one operator. `closing`: it is over."""

    alarm_id: int
    user_id: int
    closing: bool
    ref: str
    email: str
    kind: str
    message: str
    opened_at: datetime
    closed_at: datetime | None


def settle_alarms(session: Session, actor: Actor, *, found: Mapping[str, str], now: datetime) -> None:
    """Open what was found and is not open, close what is open and was not found. The words of an open one stay those of its opening."""
    require_worker(actor)
    going_on = {alarm.kind: alarm for alarm in open_alarms(session)}
    operators = session.scalars(sa.select(User.id).where(*_told())).all()
    for kind in sorted(found.keys() - going_on.keys()):
        alarm = Alarm(ref=new_ref(), kind=kind, message=found[kind], opened_at=now, closed_at=None)
        session.add(alarm)
        session.flush()
        session.add_all([_mail(alarm.id, user_id, closing=False, now=now) for user_id in operators])
        append(session, Event("alarm.opened.v1", now, actor.name, public={"alarm": alarm.ref, "about": kind}))
    for kind in sorted(going_on.keys() - found.keys()):
        alarm = going_on[kind]
        alarm.closed_at = now
        told = session.scalars(sa.select(AlarmMail).where(AlarmMail.alarm_id == alarm.id, AlarmMail.closing.is_(False))).all()
        session.add_all([_mail(alarm.id, mail.user_id, closing=True, now=now) for mail in told])
        append(session, Event("alarm.closed.v1", now, actor.name, public={"alarm": alarm.ref, "about": kind}))
    session.flush()


def _told() -> tuple[sa.ColumnElement[bool], ...]:
    """What is true of operators who are told of alarms."""
    return User.installation_role == "operator", User.deleted_at.is_(None), enabled(User.id)


def _mail(alarm_id: int, user_id: int, *, closing: bool, now: datetime) -> AlarmMail:
    return AlarmMail(alarm_id=alarm_id, user_id=user_id, closing=closing, due_at=now, handed_at=None, sent_at=None)


def alarm_mails_due(session: Session, now: datetime) -> list[ToTell]:
    """What operators are to be told now, oldest first. An operator who left or is kept out is told nothing."""
    rows = session.execute(
        sa.select(AlarmMail, Alarm, User.email)
        .join(Alarm, Alarm.id == AlarmMail.alarm_id)
        .join(User, User.id == AlarmMail.user_id)
        .where(AlarmMail.handed_at.is_(None), AlarmMail.due_at <= now, *_told())
        .order_by(AlarmMail.alarm_id, AlarmMail.closing, AlarmMail.user_id)
    )
    return [
        ToTell(mail.alarm_id, mail.user_id, mail.closing, f"{alarm.ref}-{mail.user_id}{'-over' if mail.closing else ''}", email, alarm.kind,
               alarm.message, alarm.opened_at, alarm.closed_at)
        for mail, alarm, email in rows
    ]  # fmt: skip


def hand_alarm_mail(session: Session, telling: ToTell, *, now: datetime) -> bool:
    """Mark it as leaving, just before it does: a mail whose fate is unknown is never sent twice. False where somebody else has it."""
    mail = _row(session, telling)
    if mail.handed_at is not None:
        return False
    mail.handed_at = now
    session.flush()
    return True


def record_alarm_mail(session: Session, telling: ToTell, delivery: Delivery, *, now: datetime) -> None:
    """What became of it. What failed is tried again, later and later."""
    mail = _row(session, telling)
    mail.attempts += 1
    mail.last_error = delivery.error[:500]
    if delivery.outcome in {"sent", "kept"}:
        mail.sent_at, mail.kept = now, delivery.outcome == "kept"
    elif delivery.outcome == "failed":
        mail.handed_at = None
        mail.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(mail.attempts - 1, 10))
    session.flush()


def _row(session: Session, telling: ToTell) -> AlarmMail:
    key = (telling.alarm_id, telling.user_id, telling.closing)
    return session.get_one(AlarmMail, key, with_for_update=True)
