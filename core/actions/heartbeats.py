"""Processes say that they are there."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import rowcount
from core.store.heartbeats import Heartbeat


def beat(session: Session, name: str, *, pid: int, now: datetime) -> None:
    """Note that the process `name` is alive at `now`. Quiet: it changes nothing that anybody owns."""
    changed = session.execute(sa.update(Heartbeat).where(Heartbeat.name == name).values(pid=pid, at=now))
    if not rowcount(changed):
        session.add(Heartbeat(name=name, pid=pid, at=now))
        session.flush()
