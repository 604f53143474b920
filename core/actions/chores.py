"""Operators' work that falls due by itself: claimed by compare-and-swap, done, planned again.

Quiet: leases are the workers' own book-keeping.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.backups import CHORES, Chore
from core.store.db import insert_missing, rowcount

LEASE_MOST: Final = timedelta(minutes=10)
"""No worker takes a chore for longer: a lease beyond it was given by a clock that was ahead."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A chore in hand for the `claim`-th time. `asked`: somebody asked for it; `about`: of which backup, "" the newest."""

    name: str
    claim: int
    asked: bool
    about: str


def plan_chores(session: Session, now: datetime) -> None:
    """Every chore that this code knows is planned, a new one for now: an upgrade adds no row to a table that was there."""
    rows = [
        {"name": name, "next_at": now, "wanted_at": None, "about": "", "lease_until": None, "claim": 0, "last_at": None} for name in CHORES
    ]
    insert_missing(session, Chore, rows)


def take_chore(session: Session, name: str, *, lease: timedelta, now: datetime, anyway: bool = False) -> Taken | None:
    """Take a chore that is due (with `anyway`, also one that is not) and in nobody's hand. None where there is nothing to take."""
    free = sa.or_(Chore.lease_until.is_(None), Chore.lease_until <= now)
    due = sa.or_(Chore.next_at <= now, Chore.wanted_at.is_not(None), sa.literal(anyway))
    taken = session.execute(
        sa.update(Chore)
        .where(Chore.name == name, free, due)
        .values(lease_until=now + lease, claim=Chore.claim + 1)
        .returning(Chore.claim, Chore.wanted_at, Chore.about)
        .execution_options(synchronize_session=False)
    ).first()
    return Taken(name, taken[0], taken[1] is not None, taken[2]) if taken else None


def end_chore(session: Session, taken: Taken, *, next_at: datetime | None, now: datetime) -> bool:
    """The chore is done, and due again at `next_at`. False where it was taken by somebody else meanwhile: then nothing is planned."""
    done = {"lease_until": None, "wanted_at": None, "about": "", "next_at": next_at, "last_at": now}
    where = (Chore.name == taken.name, Chore.claim == taken.claim)
    return rowcount(session.execute(sa.update(Chore).where(*where).values(done).execution_options(synchronize_session=False))) == 1


def want_chore(session: Session, name: str, *, about: str = "", now: datetime) -> None:
    """Have a chore done as soon as somebody is free for it."""
    values = {"wanted_at": now, "about": about}
    session.execute(sa.update(Chore).where(Chore.name == name).values(values).execution_options(synchronize_session=False))


def pull_chores_in(session: Session, *, longest: dict[str, timedelta], now: datetime) -> int:
    """Make due what is planned later than any plan reaches: the clock was ahead when it was planned. How many were."""
    moved = 0
    for name, most in longest.items():
        ahead = sa.update(Chore).where(Chore.name == name, Chore.next_at > now + most).values(next_at=now)
        moved += rowcount(session.execute(ahead.execution_options(synchronize_session=False)))
        held = sa.update(Chore).where(Chore.name == name, Chore.lease_until > now + LEASE_MOST).values(lease_until=now)
        moved += rowcount(session.execute(held.execution_options(synchronize_session=False)))
    return moved
