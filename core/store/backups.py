"""Backups, drills, holds, recovery kits and alarms; what is due to be done about them; and the questions asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.accounts import Account
from core.store.base import Base, Id, index_where

CHORES: Final = ("backup", "drill", "look", "purge")
"""`backup`: take one; `drill`: restore and compare one; `look`: retention, and whether to raise an alarm."""
RUNNING, STORED, FAILED, REMOVED = "running", "stored", "failed", "removed"
PASSED = "passed"


class Installation(Base):
    """One row: which installation this database is. A backup of another one is told by it."""

    __tablename__ = "installation"
    ref: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    made_at: Mapped[datetime]


class Chore(Base):
    """When an operator's work is due. `wanted_at`: somebody asked for it ahead of its time; `about`: of which backup, "" the newest."""

    __tablename__ = "chores"
    name: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    next_at: Mapped[datetime | None]
    wanted_at: Mapped[datetime | None]
    about: Mapped[str] = mapped_column(sa.String(16), default="")
    lease_until: Mapped[datetime | None]
    claim: Mapped[int] = mapped_column(default=0)
    last_at: Mapped[datetime | None]


class Backup(Base):
    """One backup, from its beginning on. `at` is its point: what was acknowledged before it is in it.

    `kind` is due, asked or migration; `state` running, stored, failed or removed; `name` what its files at the targets begin with.
    `restorable`, `why`, `proven_at`, `fidelity` and `coverage` are what the newest drill of it found, written by the drill alone.
    """

    __tablename__ = "backups"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    engine: Mapped[str] = mapped_column(sa.String(16))
    kind: Mapped[str] = mapped_column(sa.String(16))
    state: Mapped[str] = mapped_column(sa.String(16))
    step: Mapped[str] = mapped_column(default="")
    name: Mapped[str] = mapped_column(default="")
    began_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    manifest: Mapped[dict[str, Any]]
    targets: Mapped[dict[str, Any]]
    restorable: Mapped[bool | None]
    why: Mapped[str] = mapped_column(default="")
    proven_at: Mapped[datetime | None]
    fidelity: Mapped[float | None] = mapped_column(sa.Float)
    coverage: Mapped[float | None] = mapped_column(sa.Float)
    removed_at: Mapped[datetime | None]
    removed_why: Mapped[str] = mapped_column(default="")
    __table_args__ = (
        sa.Index("ix_backups_began", "began_at"),
        index_where("state = 'running'", "uq_backups_running", "state", unique=True),
    )


class Drill(Base):
    """One restore that was compared. `fidelity` and `coverage` in per cent, None where it did not come so far.

    `differences` are tables that were not the same, in words; `faults` everything that was wrong, worst first; `aged_*` count accounts
    that are older than one backup interval: of these none may be missing.
    """

    __tablename__ = "drills"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    backup_id: Mapped[int] = mapped_column(sa.ForeignKey("backups.id"), index=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    step: Mapped[str] = mapped_column(default="")
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    fidelity: Mapped[float | None] = mapped_column(sa.Float)
    coverage: Mapped[float | None] = mapped_column(sa.Float)
    accounts_alive: Mapped[int] = mapped_column(default=0)
    accounts_held: Mapped[int] = mapped_column(default=0)
    aged_alive: Mapped[int] = mapped_column(default=0)
    aged_held: Mapped[int] = mapped_column(default=0)
    tables: Mapped[int] = mapped_column(default=0)
    rows: Mapped[int] = mapped_column(default=0)
    differences: Mapped[list[str]]
    faults: Mapped[list[str]]
    steps: Mapped[list[str]]
    __table_args__ = (sa.Index("ix_drills_began", "began_at"),)


class Hold(Base):
    """While one is set no backup is removed."""

    __tablename__ = "backup_holds"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    reason: Mapped[str]
    set_by: Mapped[str] = mapped_column(sa.String(32))
    set_at: Mapped[datetime]
    lifted_by: Mapped[str] = mapped_column(sa.String(32), default="")
    lifted_at: Mapped[datetime | None]


class RecoveryKit(Base):
    """A recovery kit that was written: a digest of what is in it, and the public fingerprints of its keys."""

    __tablename__ = "recovery_kits"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    name: Mapped[str]
    made_at: Mapped[datetime]
    digest: Mapped[str] = mapped_column(sa.String(64))
    recipient: Mapped[str]
    fingerprints: Mapped[dict[str, Any]]
    targets: Mapped[dict[str, Any]]


class Alarm(Base):
    """Something about backups that operators must know, from open to close. Kept for ever: the status feed shows them."""

    __tablename__ = "alarms"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    kind: Mapped[str] = mapped_column(sa.String(32))
    message: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    __table_args__ = (index_where("closed_at IS NULL", "uq_alarms_open", "kind", unique=True),)


class AlarmMail(Base):
    """An alarm told to one operator: once as it opens, once as it closes."""

    __tablename__ = "alarm_mails"
    alarm_id: Mapped[int] = mapped_column(sa.ForeignKey("alarms.id"), primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), primary_key=True, autoincrement=False)
    closing: Mapped[bool] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    handed_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    kept: Mapped[bool] = mapped_column(default=False)
    last_error: Mapped[str] = mapped_column(default="")


@dataclass(frozen=True, slots=True)
class Alive:
    """An account that is alive now, as a drill looks for it in a restored copy."""

    ref: str
    created_at: datetime


def installation_ref(session: Session) -> str:
    """Which installation this is."""
    return session.scalar(sa.select(Installation.ref)) or ""


def alive_accounts(session: Session) -> list[Alive]:
    """Every account that is alive now."""
    return [Alive(*row) for row in session.execute(sa.select(Account.ref, Account.created_at).where(Account.deleted_at.is_(None)))]


def chores_due(session: Session, now: datetime) -> set[str]:
    """The chores that wait to be done and are in nobody's hand."""
    free = sa.or_(Chore.lease_until.is_(None), Chore.lease_until <= now)
    return set(session.scalars(sa.select(Chore.name).where(free, sa.or_(Chore.next_at <= now, Chore.wanted_at.is_not(None)))))


def backups(session: Session, *, states: Sequence[str] = (STORED,), most: int = 1_000) -> list[Backup]:
    """Backups in these states, newest first by their point."""
    point = sa.func.coalesce(Backup.at, Backup.began_at)
    return list(session.scalars(sa.select(Backup).where(Backup.state.in_(states)).order_by(point.desc(), Backup.id.desc()).limit(most)))


def backup_by_ref(session: Session, ref: str) -> Backup | None:
    """The backup with this reference; for "newest" the newest that is stored."""
    if ref == "newest":
        return next(iter(backups(session, most=1)), None)
    return session.scalar(sa.select(Backup).where(Backup.ref == ref))


def drills_of(session: Session, backup_id: int, most: int = 20) -> list[Drill]:
    """A backup's drills, newest first."""
    where = sa.select(Drill).where(Drill.backup_id == backup_id)
    return list(session.scalars(where.order_by(Drill.id.desc()).limit(most)))


def newest_drill(session: Session) -> Drill | None:
    """The drill that was held last, passed or not. By its number: its time may be that of a clock that was wrong."""
    return session.scalar(sa.select(Drill).where(Drill.ended_at.is_not(None)).order_by(Drill.id.desc()).limit(1))


def newest_proven(session: Session) -> Backup | None:
    """The newest stored backup of which the newest drill passed."""
    where = (Backup.state == STORED, Backup.restorable.is_(True))
    return session.scalar(sa.select(Backup).where(*where).order_by(Backup.at.desc(), Backup.id.desc()).limit(1))


def open_holds(session: Session) -> list[Hold]:
    """Holds that keep everything, oldest first."""
    return list(session.scalars(sa.select(Hold).where(Hold.lifted_at.is_(None)).order_by(Hold.set_at)))


def open_alarms(session: Session) -> list[Alarm]:
    """Alarms that are going on, oldest first."""
    return list(session.scalars(sa.select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.opened_at)))


def newest_kit(session: Session) -> RecoveryKit | None:
    """The recovery kit that was written last."""
    return session.scalar(sa.select(RecoveryKit).order_by(RecoveryKit.made_at.desc(), RecoveryKit.id.desc()).limit(1))
