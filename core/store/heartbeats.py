"""Signs of life: one row a process, and what /healthz asks."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base
from core.store.endpoints import Schedule


class Heartbeat(Base):
    """When a process last said that it is there. `name` is clock, worker.now, worker.scan or worker.ops."""

    __tablename__ = "heartbeats"
    name: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    pid: Mapped[int]
    at: Mapped[datetime]


def heartbeats(session: Session) -> dict[str, datetime]:
    """The newest sign of life of every process."""
    return {row.name: row.at for row in session.execute(sa.select(Heartbeat.name, Heartbeat.at))}


def oldest_overdue_at(session: Session, now: datetime) -> datetime | None:
    """Since when the longest-waiting scan has been due; None when nothing is."""
    return session.scalar(sa.select(sa.func.min(Schedule.next_scan_at)).where(Schedule.watchers > 0, Schedule.next_scan_at <= now))
