"""The questions that the pages about backups ask: few, and manifests are left where they are until one is shown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from core.store.accounts import User
from core.store.backups import FAILED, REMOVED, RUNNING, STORED, Backup, Chore, Drill

_REMOVED_SHOWN = 3
_LIGHT = defer(Backup.manifest, raiseload=True)
_PERSON = "user:"


def chores(session: Session) -> dict[str, Chore]:
    """What is due and what was asked for, by name."""
    return {chore.name: chore for chore in session.scalars(sa.select(Chore))}


def in_store(session: Session) -> list[Backup]:
    """Every backup that is stored or being made, newest first by its point, and the few that were removed last. Without manifests."""
    removed = sa.select(Backup.id).where(Backup.state == REMOVED).order_by(Backup.removed_at.desc(), Backup.id.desc()).limit(_REMOVED_SHOWN)
    wanted = sa.or_(Backup.state.in_((STORED, RUNNING)), Backup.id.in_(removed))
    point = sa.func.coalesce(Backup.at, Backup.began_at)
    return list(session.scalars(sa.select(Backup).options(_LIGHT).where(wanted).order_by(point.desc(), Backup.id.desc())))


def tries(session: Session, *, until: datetime | None, skip: int, most: int) -> list[Backup]:
    """A page of all backups that are there, are being made or failed, newest first by their beginning. Without manifests.

    `until` and `skip` as `portal.cursors.read_place` gives them.
    """
    asked = sa.select(Backup).options(_LIGHT).where(Backup.state.in_((STORED, RUNNING, FAILED)))
    if until is not None:
        asked = asked.where(Backup.began_at <= until)
    return list(session.scalars(asked.order_by(Backup.began_at.desc(), Backup.id.desc()).offset(skip).limit(most)))


def newest_drills(session: Session) -> tuple[Drill | None, Drill | None]:
    """The drill that runs, and the one that ended last. One runs at a time, so the two that began last hold both."""
    found = list(session.scalars(sa.select(Drill).order_by(Drill.began_at.desc(), Drill.id.desc()).limit(2)))
    running = next((drill for drill in found if drill.ended_at is None), None)
    return running, next((drill for drill in found if drill.ended_at is not None), None)


def people(session: Session, actors: Iterable[str]) -> dict[str, str]:
    """The addresses of people by the names that the log knows them by. Asks nothing where there is no person among them."""
    refs = {actor.removeprefix(_PERSON) for actor in actors if actor.startswith(_PERSON)}
    if not refs:
        return {}
    found = session.execute(sa.select(User.ref, User.email).where(User.ref.in_(refs), User.deleted_at.is_(None)))
    return {f"{_PERSON}{ref}": email for ref, email in found}
