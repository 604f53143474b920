"""Handing out what is due, and taking it back. Quiet: leases are the clock's own book-keeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.facts import OtherKey, Target
from core.store.db import CHUNK, postgresql, rowcount
from core.store.endpoints import Endpoint, Schedule
from core.store.observations import pairs_known

ASK_EVERY = 3
"""At an interval of eight hours, a second certificate is noticed within the day and costs every server one connection more in it."""


@dataclass(frozen=True, slots=True, order=True)
class Claimed:
    """One endpoint, handed out for the `claim`-th time. A worker leaves a claim alone that was handed out anew meanwhile."""

    endpoint_id: int
    claim: int


def claim_due(session: Session, *, perspective: str, urgent: bool, most: int, lease: timedelta, now: datetime) -> list[Claimed]:
    """Take up to `most` due endpoints for `lease`; nobody else gets them until it runs out. One statement, oldest first.

    Rows are taken by their place in the table: they are locked, so none moves meanwhile, and none is looked for a second time.
    """
    place: sa.ColumnElement[object] = sa.literal_column("schedule.ctid" if postgresql(session) else "schedule.rowid")
    due = (
        sa.select(place.label("place"))
        .select_from(Schedule)
        .where(
            Schedule.perspective == perspective,
            Schedule.watchers > 0,
            Schedule.next_scan_at <= now,
            Schedule.urgent.is_(urgent),
            sa.or_(Schedule.lease_until.is_(None), Schedule.lease_until <= now),
        )
        .order_by(Schedule.next_scan_at)
        .limit(most)
        .with_for_update(skip_locked=True, of=Schedule)
        .cte("due")
    )
    taken = session.execute(
        sa.update(Schedule)
        .where(place.in_(sa.select(due.c.place)))
        .values(lease_until=now + lease, claim=Schedule.claim + 1)
        .returning(Schedule.endpoint_id, Schedule.claim)
        .execution_options(synchronize_session=False)
    )
    return sorted(Claimed(*row) for row in taken)


def release_claims(session: Session, *, perspective: str, claims: Sequence[Claimed]) -> None:
    """Give back what could not be handed out, so that it is due again at once and not only when the lease runs out."""
    for start in range(0, len(claims), CHUNK):
        chunk = {claimed.endpoint_id: claimed.claim for claimed in claims[start : start + CHUNK]}
        rows = session.scalars(
            sa.select(Schedule)
            .where(Schedule.perspective == perspective, Schedule.endpoint_id.in_(chunk))
            .order_by(Schedule.endpoint_id)
            .with_for_update()
        )
        for schedule in rows:
            if schedule.claim == chunk[schedule.endpoint_id]:
                schedule.lease_until = None
        session.flush()


@dataclass(frozen=True, slots=True)
class InHand:
    """An endpoint whose claim holds, what is to be dialled, and the account in whose private ranges it lies ("": none)."""

    claimed: Claimed
    target: Target
    scope: str


def scans_in_hand(session: Session, perspective: str, claims: Sequence[Claimed]) -> list[InHand]:
    """The endpoints of those claims that still hold: neither recorded yet nor handed out anew.

    The certificate of the other kind of key is asked for where there is one or was one, where a person asked for the scan, at the first
    claim and at every third one from there.
    """
    wanted = {claimed.endpoint_id: claimed for claimed in claims}
    found: list[InHand] = []
    for start in range(0, len(claims), CHUNK):
        chunk = [claimed.endpoint_id for claimed in claims[start : start + CHUNK]]
        rows = session.execute(
            sa.select(Schedule.claim, Schedule.urgent, Endpoint)
            .join(Endpoint, Endpoint.id == Schedule.endpoint_id)
            .where(Schedule.perspective == perspective, Schedule.endpoint_id.in_(chunk), Schedule.lease_until.is_not(None))
        )
        pairs = pairs_known(session, chunk)
        for claim, urgent, row in rows:
            if wanted[row.id].claim == claim:
                turn = OtherKey.ASKED if urgent or claim % ASK_EVERY == 1 else OtherKey.LEFT
                target = Target(row.name, row.port, row.starttls, row.address, OtherKey.EXPECTED if row.id in pairs else turn)
                found.append(InHand(wanted[row.id], target, row.scope))
    return found


def anything_due(session: Session, *, perspective: str, now: datetime) -> bool:
    """Whether a claim would get something; asked before a transaction is opened that writes."""
    free = sa.or_(Schedule.lease_until.is_(None), Schedule.lease_until <= now)
    where = (Schedule.perspective == perspective, Schedule.watchers > 0, Schedule.next_scan_at <= now, free)
    return session.scalar(sa.select(sa.exists().where(*where))) or False


def put_off(session: Session, *, perspective: str, claimed: Claimed, until: datetime) -> None:
    """Take out of hand what could not be recorded at all, until `until`: it must not be the first in line for ever."""
    where = (Schedule.endpoint_id == claimed.endpoint_id, Schedule.perspective == perspective, Schedule.claim == claimed.claim)
    later = {"lease_until": None, "next_scan_at": until, "urgent": False, "failures": Schedule.failures + 1}
    session.execute(sa.update(Schedule).where(*where).values(later).execution_options(synchronize_session=False))


def pull_in(session: Session, *, longest: timedelta, now: datetime) -> int:
    """Make due what is planned later than any plan reaches: the clock was ahead when it was planned. How many were."""
    too_late = sa.update(Schedule).where(Schedule.next_scan_at > now + longest).values(next_scan_at=now)
    return rowcount(session.execute(too_late.execution_options(synchronize_session=False)))
