"""Asking for a scan now, and moving an account's endpoints when the operator opens private ranges to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, Permission, require
from core.perspective import LOCAL
from core.store.accounts import account_refs
from core.store.endpoints import Endpoint, ensure_endpoints, lock_schedules
from core.store.watches import Watch, own_watches

SCAN_NOW_EVERY = timedelta(seconds=30)
"""How soon one endpoint may be asked for again, by whomever: a host is not ours to hammer."""
STUCK_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ScanNow:
    """What became of "Scan now": "asked", "running" (one is under way) or "too_soon"."""

    outcome: str
    message: str


def scan_now(session: Session, actor: Actor, *, ref: str, now: datetime) -> ScanNow | None:
    """Ask for a scan of the watch's endpoint ahead of its time. None when the account has no such watch."""
    account_id = require(actor, Permission.SCAN_NOW)
    for watch in own_watches(session, account_id, [ref], binned=False):
        schedule = lock_schedules(session, [watch.endpoint_id])[watch.endpoint_id][0]
        asked = schedule.requested_at
        if asked and (schedule.last_scanned_at is None or schedule.last_scanned_at < asked) and now - asked < STUCK_AFTER:
            return ScanNow("running", "A scan is under way. Its result appears here by itself.")
        if schedule.last_scanned_at and now - schedule.last_scanned_at < SCAN_NOW_EVERY:
            wait = int(SCAN_NOW_EVERY.total_seconds())
            return ScanNow("too_soon", f"This was scanned less than {wait} seconds ago. Nothing was asked for; try again in a moment.")
        schedule.next_scan_at, schedule.requested_at, schedule.urgent = now, now, True
        append(session, Event("scan.requested.v1", now, actor.name, actor.account_ref))
        return ScanNow("asked", "A scan was asked for.")
    return None


def rescope_watches(session: Session, *, account_ids: Sequence[int], now: datetime) -> int:
    """Give these accounts endpoints of their own for what they watch, since the operator opened private ranges to them.

    Quiet: what they watch stays the same, only who else may see the result changes. How many watches moved.
    """
    moved = 0
    watches = session.execute(
        sa.select(Watch, Endpoint)
        .join(Endpoint, Endpoint.id == Watch.endpoint_id)
        .where(Watch.account_id.in_(account_ids), Watch.deleted_at.is_(None), Endpoint.scope == "")
        .order_by(Watch.id)
    )
    refs = account_refs(session, account_ids)
    for watch, endpoint in watches.all():
        own = ensure_endpoints(
            session, {(endpoint.name, endpoint.port)}, scope=refs[watch.account_id], perspective=LOCAL, now=now
        )[endpoint.name, endpoint.port]  # fmt: skip
        for rows in lock_schedules(session, [endpoint.id, own]).values():
            for schedule in rows:
                schedule.watchers += 1 if schedule.endpoint_id == own else -1
                if schedule.endpoint_id == own:
                    schedule.next_scan_at, schedule.requested_at, schedule.urgent = now, now, True
        watch.endpoint_id, watch.since_at = own, now
        moved += 1
    session.flush()
    return moved
