"""Notices on their way: handed out, confirmed by a fresh scan, marked just before they leave, and what became of them.

Quiet: what is told follows from what was seen. A notice is never sent twice: between "handed over" and "sent" lies the moment in
which a killed worker leaves us not knowing, and then the notice is shown as unsure instead of being sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.settle_notices import cancel
from core.channels import Delivery
from core.store.endpoints import lock_schedules
from core.store.incidents import Notice
from core.store.watches import Watch

FRESH = timedelta(minutes=15)
"""A notice is sent while the scan that confirmed it is younger than this; else the endpoint is scanned again first."""
LEASE = timedelta(minutes=3)
LOOK_AGAIN = timedelta(seconds=20)
FIRST_RETRY, LAST_RETRY = timedelta(minutes=1), timedelta(hours=6)
_OPEN = (Notice.sent_at.is_(None), Notice.cancelled_at.is_(None), Notice.handed_at.is_(None))


@dataclass(frozen=True, slots=True)
class ToTell:
    """A notice in hand, with what its message needs."""

    notice_id: int
    ref: str
    account_id: int
    user_id: int
    endpoint_id: int
    watch_ref: str
    name: str
    port: int
    how: str
    kind: str
    certificate: str
    message: str
    fix: str


def notices_due(session: Session, now: datetime) -> bool:
    """Whether there is anything to tell now."""
    free = sa.or_(Notice.lease_until.is_(None), Notice.lease_until <= now)
    return session.scalar(sa.select(sa.exists().where(*_OPEN, Notice.due_at <= now, free))) or False


def claim_notices(session: Session, *, most: int, now: datetime) -> list[ToTell]:
    """Take notices to tell. Those whose scan is too old are put off, and their endpoints are scanned first."""
    free = sa.or_(Notice.lease_until.is_(None), Notice.lease_until <= now)
    due = sa.select(Notice, Watch).join(Watch, Watch.id == Notice.watch_id).where(*_OPEN, Notice.due_at <= now, free)
    due = due.order_by(Notice.due_at, Notice.id).limit(most)
    # Schedules before notices, as those who record scans take them: else each would wait for the other.
    stale = {watch.endpoint_id for notice, watch in session.execute(due) if now - notice.verified_at > FRESH}
    _scan_first(session, sorted(stale), now)
    taken: list[ToTell] = []
    again = due.with_for_update(of=Notice, skip_locked=True).execution_options(populate_existing=True)
    for notice, watch in session.execute(again).all():
        if now - notice.verified_at > FRESH:
            notice.due_at = now + LOOK_AGAIN
            continue
        notice.lease_until = now + LEASE
        notice.attempts += 1
        taken.append(
            ToTell(
                notice.id,
                notice.ref,
                notice.account_id,
                notice.user_id,
                watch.endpoint_id,
                watch.ref,
                watch.name,
                watch.port,
                watch.how,
                notice.kind,
                notice.certificate,
                notice.message,
                notice.fix,
            )
        )
    session.flush()
    return taken


def hand_over(session: Session, notice_ids: Sequence[int], *, now: datetime) -> bool:
    """Mark the notices as leaving, all or none. False when one of them was cancelled, or is somebody else's by now."""
    where = (Notice.id.in_(notice_ids), *_OPEN, Notice.lease_until.is_not(None), Notice.lease_until > now)
    mine = session.scalars(sa.select(Notice).where(*where).order_by(Notice.id).with_for_update()).all()
    if len(mine) != len(notice_ids):
        return False
    for notice in mine:
        notice.handed_at = now
    session.flush()
    return True


def record_delivery(session: Session, notice_ids: Sequence[int], delivery: Delivery, *, now: datetime) -> None:
    """What became of them. What was certainly not sent is tried again, later and later; what is unsure stays as it is, and is shown."""
    for notice in session.scalars(sa.select(Notice).where(Notice.id.in_(notice_ids)).with_for_update()):
        notice.lease_until = None
        if delivery.outcome == "elsewhere":
            continue
        if delivery.outcome == "gone":
            cancel(notice, now)
            continue
        notice.subject, notice.body, notice.last_error = delivery.subject, delivery.body, delivery.error
        if delivery.outcome in {"sent", "kept"}:
            notice.sent_at, notice.kept = now, delivery.outcome == "kept"
        elif delivery.outcome == "failed":
            notice.handed_at = None
            notice.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(notice.attempts - 1, 10))
    session.flush()


def release_notices(session: Session, notice_ids: Sequence[int]) -> None:
    """Give back what there was no time to tell."""
    where = (Notice.id.in_(notice_ids), *_OPEN)
    session.execute(sa.update(Notice).where(*where).values(lease_until=None).execution_options(synchronize_session=False))


def _scan_first(session: Session, endpoint_ids: Sequence[int], now: datetime) -> None:
    for rows in lock_schedules(session, endpoint_ids).values():
        for schedule in rows:
            if schedule.next_scan_at > now:
                schedule.next_scan_at, schedule.requested_at, schedule.urgent = now, now, True
    session.flush()
