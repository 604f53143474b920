"""What is known about backups now, read from the database in a few questions: for alarms and for the page's first sentence."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import Log, OutboxEvent, PrivatePart
from core.backups.alarms import Facts
from core.store.backups import FAILED, STORED, Backup, Drill, Installation, newest_drill

_LAST_EVENTS = 1_000


def known_until(session: Session) -> datetime | None:
    """The latest time that anything was noted at: of the log's last events, of backups and of drills. Later than now: a clock is wrong."""
    last = sa.select(PrivatePart.at).order_by(PrivatePart.log.desc(), PrivatePart.index.desc()).limit(_LAST_EVENTS).subquery()
    waiting = sa.select(OutboxEvent.at).order_by(OutboxEvent.id.desc()).limit(_LAST_EVENTS).subquery()
    times = sa.select(
        sa.select(sa.func.max(waiting.c.at)).scalar_subquery(),
        sa.select(sa.func.max(last.c.at)).scalar_subquery(),
        sa.select(sa.func.max(Backup.at)).where(Backup.state == STORED).scalar_subquery(),
        sa.select(sa.func.max(Drill.ended_at)).scalar_subquery(),
    )
    return max((at for at in session.execute(times).one() if at is not None), default=None)


def gather(session: Session, *, kit_faults: tuple[str, ...] = ()) -> Facts:
    """The facts, as of now."""
    stored = sa.select(Backup).where(Backup.state == STORED).order_by(Backup.at.desc(), Backup.id.desc()).limit(1)
    newest = session.scalar(stored)
    failed = session.scalar(sa.select(Backup).where(Backup.state == FAILED).order_by(Backup.id.desc()).limit(1))
    last_stored = session.scalar(sa.select(sa.func.max(Backup.id)).where(Backup.state == STORED)) or 0
    error = failed.error if failed is not None and failed.id > last_stored else ""
    drill = newest_drill(session)
    of_newest = sa.select(Drill).join(Backup, Backup.id == Drill.backup_id).where(Drill.ended_at.is_not(None))
    covering = session.scalar(of_newest.order_by(Backup.at.desc(), Drill.id.desc()).limit(1))
    log = session.scalar(sa.select(Log).order_by(Log.number.desc()).limit(1))
    waits = session.scalar(sa.select(sa.func.min(OutboxEvent.at))) if log is not None else None
    return Facts(
        installed_at=session.scalars(sa.select(Installation.made_at)).one(),
        newest_at=newest.at if newest is not None else None,
        newest_stored_at=newest.ended_at if newest is not None else None,
        newest_proven=newest.restorable if newest is not None else None,
        last_error=error,
        target_errors=tuple(f"{shown}: {said}" for shown, said in newest.targets.items() if said) if newest is not None else (),
        drilled_at=drill.ended_at if drill is not None else None,
        drill_faults=tuple(drill.faults) if drill is not None else (),
        fidelity=drill.fidelity if drill is not None else None,
        coverage=drill.coverage if drill is not None else None,
        aged_missing=covering.aged_alive - covering.aged_held if covering is not None else 0,
        kit_faults=kit_faults,
        known_until=known_until(session),
        log_trouble=log.trouble if log is not None else "",
        log_waits_since=waits,
    )
