"""What waits and what is in hand, as those who run the installation see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.store.base import Utc
from core.store.endpoints import Schedule
from core.store.incidents import Notice
from core.store.letters import Letter


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and since when the oldest one has."""

    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Workload:
    """Scans that are due and in nobody's hand; scans that are in somebody's; letters and notices that are to be sent by now."""

    scans: Waiting
    scans_in_hand: int
    watched: int
    letters: Waiting
    notices: Waiting


def workload(session: Session, now: datetime) -> Workload:
    """How things stand."""
    free = sa.or_(Schedule.lease_until.is_(None), Schedule.lease_until <= now)
    watched = Schedule.watchers > 0
    return Workload(
        _waiting(session, Schedule.next_scan_at, watched, Schedule.next_scan_at <= now, free),
        _count(session, watched, Schedule.lease_until > now),
        _count(session, watched),
        _waiting(session, Letter.due_at, Letter.ended_at.is_(None), Letter.handed_at.is_(None), Letter.due_at <= now),
        _waiting(
            session,
            Notice.due_at,
            Notice.sent_at.is_(None),
            Notice.cancelled_at.is_(None),
            Notice.handed_at.is_(None),
            Notice.due_at <= now,
        ),
    )


def _waiting(session: Session, since: InstrumentedAttribute[datetime], *where: sa.ColumnElement[bool]) -> Waiting:
    count, oldest = session.execute(sa.select(sa.func.count(), sa.type_coerce(sa.func.min(since), Utc())).where(*where)).one()
    return Waiting(count, oldest)


def _count(session: Session, *where: sa.ColumnElement[bool]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(Schedule).where(*where)) or 0


def mail_waits_since(session: Session, now: datetime, *, but: str) -> datetime | None:
    """Since when the oldest letter or notice waits that is to be sent by now; None where none does. `but`: a kind of letter left out."""
    letters = sa.select(sa.type_coerce(sa.func.min(Letter.due_at), Utc())).where(
        Letter.ended_at.is_(None), Letter.handed_at.is_(None), Letter.due_at <= now, Letter.kind != but
    )
    notices = workload(session, now).notices.oldest
    return min((each for each in (session.scalar(letters), notices) if each is not None), default=None)
