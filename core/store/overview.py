"""What an account sees first: what needs somebody, what will soon, and whether we looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.endpoints import ScanGap, ScanTally, Schedule
from core.store.incidents import Incident
from core.store.listing import counts
from core.store.sought import FEW
from core.store.watches import STATES, Watch

DAY = timedelta(days=1)
MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Line:
    """A watch as a list shows it. `ends_at` is NO_END where no end is known."""

    ref: str
    name: str
    port: int
    how: str
    state: str
    sentence: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident that has not been closed."""

    ref: str
    name: str
    port: int
    how: str
    severity: str
    message: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """Whether we looked. `made` and `missed` are by day (YYYY-MM-DD); `made` counts the whole installation, gaps only the account's."""

    made: Mapping[str, int]
    missed: Mapping[str, int]
    missed_day: int
    missing_now: int
    last_scanned_at: datetime | None


def first_of_each_state(session: Session, account_id: int, most: int) -> dict[str, tuple[Line, ...]]:
    """The first `most` watches in each state, those that end soonest first."""
    columns = (Watch.ref, Watch.name, Watch.port, Watch.how, Watch.state, Watch.sentence, Watch.ends_at, Watch.id)
    parts = [
        sa.select(*columns)
        .where(Watch.account_id == account_id, Watch.rank == rank, Watch.deleted_at.is_(None))
        .order_by(Watch.ends_at, Watch.id)
        .limit(most)
        .subquery()
        for rank in range(len(STATES))
    ]
    found: dict[str, list[Line]] = {state: [] for state in STATES}
    for *columns_of_line, _ in session.execute(sa.union_all(*(sa.select(part) for part in parts))):
        line = Line(*columns_of_line)
        found[line.state].append(line)
    return {state: tuple(sorted(lines, key=lambda line: line.ends_at)) for state, lines in found.items()}


def open_incidents(session: Session, account_id: int, most: int) -> tuple[int, tuple[OpenIncident, ...]]:
    """How many incidents are open, and the `most` newest of them."""
    where = (Incident.account_id == account_id, Incident.closed_at.is_(None))  # of live watches: those of removed ones are closed
    count = session.scalar(sa.select(sa.func.count()).where(*where)) or 0
    rows = session.execute(
        sa.select(Watch.ref, Watch.name, Watch.port, Watch.how, Incident.severity, Incident.message, Incident.opened_at)
        .join(Watch, Watch.id == Incident.watch_id)
        .where(*where)
        .order_by(Incident.opened_at.desc(), Incident.id.desc())
        .limit(most)
    )
    return count, tuple(OpenIncident(*row) for row in rows)


def looked(session: Session, account_id: int, now: datetime) -> Looked:
    """Scans made by day in the last 30 days, and the gaps among the account's own endpoints since it watches them."""
    first_day = (now - MONTH).date().isoformat()
    made = session.execute(sa.select(ScanTally.day, sa.func.sum(ScanTally.made)).where(ScanTally.day >= first_day).group_by(ScanTally.day))
    own = (
        Watch.endpoint_id == ScanGap.endpoint_id,
        Watch.account_id + 0 == account_id,  # a sum is in no index: from the gaps, not from the account
        Watch.deleted_at.is_(None),
        ScanGap.due_at >= Watch.since_at,
    )
    noticed_day = sa.func.date(ScanGap.noticed_at, type_=sa.Text)
    gaps = session.execute(
        sa.select(
            noticed_day.label("day"),
            sa.func.count().label("all"),
            sa.func.count().filter(ScanGap.noticed_at >= now - DAY).label("newest"),
            sa.func.count().filter(ScanGap.closed_at.is_(None)).label("open"),
        )
        .where(sa.exists().where(*own), sa.or_(ScanGap.noticed_at >= now - MONTH, ScanGap.closed_at.is_(None)))
        .group_by(noticed_day)
    ).all()
    return Looked(
        made={day: int(count) for day, count in made},
        missed={str(gap.day): gap.all for gap in gaps},
        missed_day=sum(gap.newest for gap in gaps),
        missing_now=sum(gap.open for gap in gaps),
        last_scanned_at=_last_scanned_at(session, account_id),
    )


def _last_scanned_at(session: Session, account_id: int) -> datetime | None:
    """The newest scan that the account may know of. In a large account it is among the last of all; in a small one there are few."""
    own = (Watch.account_id == account_id, Watch.deleted_at.is_(None), Watch.endpoint_id == Schedule.endpoint_id)
    seen = Schedule.last_scanned_at >= Watch.since_at
    if sum(counts(session, account_id).values()) <= FEW:
        return session.scalar(sa.select(sa.func.max(Schedule.last_scanned_at)).join(Watch, sa.and_(*own)).where(seen))
    newest = sa.select(Schedule.last_scanned_at).where(Schedule.last_scanned_at.is_not(None), sa.exists().where(*own, seen))
    return session.scalar(newest.order_by(Schedule.last_scanned_at.desc()).limit(1))
