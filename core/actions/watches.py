"""Asking for a scan now, and moving an account's endpoints when the operator opens private ranges to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from audit.log import Event, append
from core.actions.policy import Actor, Permission, require
from core.perspective import LOCAL
from core.store.accounts import account_refs
from core.store.endpoints import Endpoint, Schedule, ensure_endpoints, lock_schedules
from core.store.leaves import keep_leaves
from core.store.watches import Key, Watch, own_watches

SCAN_NOW_EVERY = timedelta(seconds=30)
"""How soon one endpoint may be asked for again, by whomever: a host is not ours to hammer."""
STUCK_AFTER = timedelta(minutes=5)
MOVED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ScanNow:
    """What became of "Scan now": "asked", "running" (one is under way) or "too_soon"."""

    outcome: str
    message: str


def scan_now(session: Session, actor: Actor, *, refs: Sequence[str], now: datetime) -> list[ScanNow]:
    """Ask for scans of these watches' endpoints ahead of their time; what the account does not watch is left out."""
    account_id = require(actor, Permission.SCAN_NOW)
    watches = own_watches(session, account_id, refs, binned=False)
    schedules = lock_schedules(session, [watch.endpoint_id for watch in watches])
    outcomes = [_ask(schedules[watch.endpoint_id][0], now) for watch in watches]
    if asked := sum(1 for each in outcomes if each.outcome == "asked"):
        append(session, Event("scan.requested.v1", now, actor.name, actor.account_ref, {"names": asked}))
    return outcomes


def _ask(schedule: Schedule, now: datetime) -> ScanNow:
    asked, last = schedule.requested_at, schedule.last_scanned_at
    if asked and (last is None or last < asked) and now - asked < STUCK_AFTER:
        return ScanNow("running", "A scan is under way. Its result appears here by itself.")
    if last and now - last < SCAN_NOW_EVERY:
        wait = int(SCAN_NOW_EVERY.total_seconds())
        return ScanNow("too_soon", f"This was scanned less than {wait} seconds ago. Nothing was asked for; try again in a moment.")
    schedule.next_scan_at, schedule.requested_at, schedule.urgent = now, now, True
    return ScanNow("asked", "A scan was asked for.")


def soonest(last: datetime | None, now: datetime) -> datetime:
    """When an endpoint that was scanned then may be scanned for somebody who takes it on: at once, or when it may be asked for again."""
    return now if last is None or last > now else max(now, last + SCAN_NOW_EVERY)


def rescope_watches(session: Session, *, account_ids: Sequence[int], now: datetime) -> int:
    """Give these accounts endpoints of their own for what they watch, since the operator opened private ranges to them.

    At most a few hundred at a time: the rest waits for the next round. What the account watches at its own endpoint already is left
    where it is. Quiet: what they watch stays the same, only who else may see the result changes. How many watches moved.
    """
    refs = account_refs(session, account_ids)
    own, shared = aliased(Endpoint), aliased(Endpoint)
    twin = sa.select(Watch.id).join(own, own.id == Watch.endpoint_id).where(own.scope != "", Watch.deleted_at.is_(None))
    rows = session.execute(
        sa.select(Watch, shared)
        .join(shared, shared.id == Watch.endpoint_id)
        .where(Watch.account_id.in_(account_ids), Watch.deleted_at.is_(None), shared.scope == "")
        .order_by(Watch.id)
        .limit(MOVED_AT_ONCE)
    ).all()
    targets: dict[int, dict[Key, Watch]] = {}
    for watch, endpoint in rows:
        targets.setdefault(watch.account_id, {})[endpoint.name, endpoint.port, endpoint.starttls, endpoint.address] = watch
    moves: list[tuple[Watch, int]] = []
    for account_id, wanted in sorted(targets.items()):
        owned = ensure_endpoints(session, set(wanted), scope=refs[account_id], perspective=LOCAL, now=now)
        taken = set(
            session.scalars(
                twin.where(Watch.account_id == account_id, Watch.endpoint_id.in_(owned.values())).with_only_columns(Watch.endpoint_id)
            )
        )
        moves += [(watch, owned[target]) for target, watch in wanted.items() if owned[target] not in taken]
    schedules = lock_schedules(session, [endpoint_id for watch, to in moves for endpoint_id in (watch.endpoint_id, to)])
    for watch, to in moves:
        for schedule in schedules[watch.endpoint_id]:
            schedule.watchers -= 1
        for schedule in schedules[to]:
            schedule.watchers += 1
            schedule.next_scan_at, schedule.requested_at, schedule.urgent = now, now, True
        watch.endpoint_id, watch.since_at = to, now
    session.flush()
    keep_leaves(session, [to for _, to in moves])
    return len(moves)
