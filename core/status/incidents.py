"""Public incidents from the store as the feed tells them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from core.status.told import Incident, Update
from core.store.public_incidents import IncidentRow, public_incidents


def told_incidents(session: Session, since: datetime) -> tuple[Incident, ...]:
    """All that is public and open, and what was over after `since`; newest first."""
    return tuple(_told(row, row.published_at) for row in public_incidents(session, since) if row.published_at is not None)


def _told(row: IncidentRow, published_at: datetime) -> Incident:
    return Incident(
        ref=row.ref,
        title=row.title,
        impact=row.impact,
        state=row.state,
        components=row.components,
        automatic=bool(row.automatic),
        opened_at=row.opened_at,
        published_at=published_at,
        changed_at=row.changed_at,
        ended_at=row.ended_at,
        planned_from=row.planned_from,
        planned_until=row.planned_until,
        account=row.account,
        updates=tuple(Update(each.state, each.words, each.at) for each in row.updates),
    )
