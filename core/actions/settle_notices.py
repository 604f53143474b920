"""What becomes of notices that were not sent yet, as scans go on: confirmed, moved along, or cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.facts import Finding
from core.store.incidents import Incident, Notice, NoticeIncident
from core.store.watches import Watch

_UNSENT = (Notice.sent_at.is_(None), Notice.cancelled_at.is_(None), Notice.handed_at.is_(None))


@dataclass(frozen=True, slots=True)
class Change:
    """What a scan changed for one watch: incidents opened, still open and closed; the leaves that are served; whether nothing is left."""

    watch: Watch
    opened: tuple[tuple[Incident, Finding], ...]
    still: tuple[tuple[Incident, Finding], ...]
    closed: tuple[Incident, ...]
    leaves: frozenset[str]
    well: bool
    ends_at: datetime | None


def settle_notices(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Look again at what was not sent yet: what a fresh scan still sees is confirmed, what is over is cancelled."""
    by_watch = {change.watch.id: change for change in changes}
    notices = session.scalars(sa.select(Notice).where(Notice.watch_id.in_(by_watch), *_UNSENT).order_by(Notice.id).with_for_update()).all()
    open_incidents = _open_incidents(session, [notice.id for notice in notices])
    for notice in notices:
        change = by_watch[notice.watch_id]
        left = open_incidents.get(notice.id, [])
        if _over(notice, change, left):
            cancel(notice, now)
            continue
        if left and notice.watch_id not in {incident.watch_id for incident in left}:
            notice.watch_id = left[0].watch_id  # cured here, but not where the same certificate is served too
        notice.verified_at = now
    session.flush()


def cancel(notice: Notice, now: datetime) -> None:
    """The notice is not sent. Its key is given back: if it comes true again, it is told."""
    notice.cancelled_at = now
    notice.key = f"{notice.key}:cancelled:{notice.ref}"


def cancel_notices(session: Session, watch_ids: Sequence[int], now: datetime) -> None:
    """Nobody watches these any more: what was not sent is not sent, but for what tells of other watches too."""
    notices = session.scalars(sa.select(Notice).where(Notice.watch_id.in_(watch_ids), *_UNSENT).order_by(Notice.id).with_for_update()).all()
    open_incidents = _open_incidents(session, [notice.id for notice in notices])
    for notice in notices:
        if left := open_incidents.get(notice.id, []):
            notice.watch_id = left[0].watch_id
        else:
            cancel(notice, now)
    session.flush()


def _open_incidents(session: Session, notice_ids: Sequence[int]) -> dict[int, list[Incident]]:
    """What each notice tells of and is not over, oldest first."""
    rows = session.execute(
        sa.select(NoticeIncident.notice_id, Incident)
        .join(Incident, Incident.id == NoticeIncident.incident_id)
        .where(NoticeIncident.notice_id.in_(notice_ids), Incident.closed_at.is_(None))
        .order_by(Incident.id)
    )
    found: dict[int, list[Incident]] = {}
    for notice_id, incident in rows:
        found.setdefault(notice_id, []).append(incident)
    return found


def _over(notice: Notice, change: Change, left: Sequence[Incident]) -> bool:
    if notice.kind == "well":
        return bool(change.opened or change.still)
    if not left:
        return True
    steps = {incident.id: str(finding.evidence.get("step", "")) for incident, finding in (*change.opened, *change.still)}
    return notice.kind == "expiring" and any(steps.get(incident.id, notice.step) != notice.step for incident in left)
