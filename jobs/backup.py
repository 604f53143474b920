"""A backup: taken, sealed, put to every target, noted. What a killed worker left half is settled first."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from core.actions.backups import begin_backup, fail_backup, note_step, note_taken, record_backup, stored_of
from core.actions.chores import Taken, end_chore, take_chore
from core.actions.policy import Actor
from core.backups.engine import BackupError
from core.backups.files import clear_scratch, drop_scratch, make_scratch, refused
from core.backups.make import make
from core.backups.stored import Stored, get_small, put_backup
from core.store.backups import RUNNING, Backup, backups, open_holds
from core.targets import Target, TargetError
from jobs.context import Context
from jobs.kits import put_escrow, put_kit
from jobs.lease import LEASE, kept

WORKER: Final = Actor(worker=True)
AGAIN: Final = timedelta(minutes=10)
FULL_EVERY: Final = timedelta(days=7)
BUSY: Final = timedelta(minutes=1)
LEFT_OVER: Final = timedelta(days=2)
log = logging.getLogger("keychest.backup")


@dataclass(frozen=True, slots=True)
class _Begun:
    id: int
    ref: str
    name: str
    kind: str


def back_up(context: Context, *words: str) -> None:
    """Make the backup that is due; with the word "now" also one that is not. One that fails is tried again by itself."""
    with context.sessions.writing() as session:
        taken = take_chore(session, "backup", lease=LEASE, now=context.now(), anyway="now" in words)
    if taken is None:
        log.info("another worker has the backup in hand, or none is due")
        return
    _settle(context)
    kind = "asked" if taken.asked or words else "due"
    with context.sessions.writing() as session:
        row = begin_backup(session, WORKER, engine=context.plan.engine_name, kind=kind, lease=LEASE, now=context.now())
        begun = _Begun(row.id, row.ref, row.name, row.kind) if row is not None else None
    if begun is None:
        _end(context, taken, BUSY)
        return
    with kept(context, taken, begun.id):
        _make(context, taken, begun)


def _make(context: Context, taken: Taken, begun: _Begun) -> None:
    try:
        stored, became = _store(context, begun)
    except (BackupError, TargetError, OSError) as error:
        log.warning("the backup failed: %s", error)
        _failed(context, taken, begun, refused(error) if isinstance(error, OSError) else str(error))
        return
    except Exception as error:
        log.exception("the backup failed")
        _failed(context, taken, begun, f"{type(error).__name__}: {error}")
        return
    with context.sessions.writing() as session:
        record_backup(session, WORKER, ref=begun.ref, stored=stored, targets=became, now=context.now())
    log.info("backup %s is stored", begun.ref)
    _put_beside(context, stored)
    _tidy(context)
    _sweep(context)
    _end(context, taken, context.plan.interval)


def _store(context: Context, begun: _Begun) -> tuple[Stored, dict[str, str]]:
    """The scratch folder is gone before anything is noted: on a disk that it filled the database takes no notes."""

    def say(step: str) -> None:
        with context.sessions.writing() as session:
            note_step(session, begun.id, step)

    def keep(stored: Stored) -> None:
        with context.sessions.writing() as session:
            note_taken(session, begun.id, stored)

    named = {"ref": begun.ref, "name": begun.name, "kind": begun.kind}
    clear_scratch(context.data, "backup-")
    scratch = make_scratch(context.data, f"backup-{begun.ref}", passable=context.plan.postgresql)
    try:
        return make(
            context.plan, **named, full=_full_is_due(context), scratch=scratch, now=context.now, pause=time.sleep, say=say, keep=keep
        )
    finally:
        drop_scratch(scratch)


def _full_is_due(context: Context) -> bool:
    """Whether a week has passed since the last full one: what builds on it goes with it, so no chain grows for ever."""
    with context.sessions.reading() as session:
        fulls = [row.at for row in backups(session) if row.at is not None and "_" not in stored_of(row).manifest.label]
    return not fulls or context.now() - max(fulls) >= FULL_EVERY


def _tidy(context: Context) -> None:
    """What retention removed is removed from the engine's own repository too, by the user who may; while a hold is set, nothing."""
    with context.sessions.reading() as session:
        labels = [stored_of(row).manifest.label for row in backups(session)]
        held = bool(open_holds(session))
    if held or not any(labels):
        return
    try:
        context.plan.engine().tidy(labels)
    except BackupError as error:
        log.warning("the repository was not tidied: %s", error)


def _sweep(context: Context) -> None:
    """What killed uploads left hidden at the targets goes once it is old enough to be nobody's; where nothing may be removed it stays."""
    for target in context.plan.targets():
        try:
            if swept := target.sweep(context.now() - LEFT_OVER):
                log.info("%s: %d files of broken-off uploads were removed", target.shown, swept)
        except TargetError as error:
            log.info("what broken-off uploads may have left is not removed: %s", error)


def _put_beside(context: Context, stored: Stored) -> None:
    """Kit and escrow: a backup without them stands, and what is wrong with them is told by an alarm."""
    for put in (put_kit, put_escrow):
        try:
            put(context, stored)
        except (BackupError, TargetError, OSError) as error:
            log.warning("beside the backup: %s", error)


def _settle(context: Context) -> None:
    """A backup whose worker was killed after it was whole at a target is whole: it is noted, not made again."""
    with context.sessions.reading() as session:
        row = session.scalar(sa.select(Backup).where(Backup.state == RUNNING))
        stored = stored_of(row) if row is not None and row.manifest and _let_go(row, context) else None
    if stored is None:
        return
    try:
        became = {target.shown: _whole_at(target, stored) for target in context.plan.targets()}
    except BackupError as error:
        log.warning("what was left half cannot be settled: %s", error)
        return
    if not all(became.values()):
        if repository := context.plan.repository():
            became = {repository: ""} | became
        log.info("backup %s was whole already when its worker was stopped", stored.ref)
        with context.sessions.writing() as session:
            record_backup(session, WORKER, ref=stored.ref, stored=stored, targets=became, now=context.now())


def _let_go(row: Backup, context: Context) -> bool:
    return row.lease_until is None or not context.now() < row.lease_until <= context.now() + LEASE


def _whole_at(target: Target, stored: Stored) -> str:
    """Why the backup is not whole at the target; nothing where the mark lies there that it is."""
    try:
        there = Stored.from_bytes(get_small(target, stored.label))
    except TargetError as error:
        return _mark_at(target, stored) if error.kind == "missing" and stored.sha256 else str(error)
    except (BackupError, ValueError) as error:
        return str(error)
    return "" if there.sha256 == stored.sha256 and there.manifest == stored.manifest else "What lies there is another backup."


def _mark_at(target: Target, stored: Stored) -> str:
    """Put the mark where the whole sealed file lies without it: else nothing would know of that file, and nothing would remove it."""
    try:
        with Path(os.devnull).open("wb") as nowhere:
            found = target.get(stored.sealed, nowhere)
    except TargetError as error:
        return str(error)
    if found.sha256 != stored.sha256:
        return "What lies there is not what was sealed."
    return put_backup((target,), stored, None, pause=time.sleep)[target.shown]


def _failed(context: Context, taken: Taken, begun: _Begun, error: str) -> None:
    with context.sessions.writing() as session:
        fail_backup(session, WORKER, session.get_one(Backup, begun.id), error=error, now=context.now())
    _end(context, taken, min(AGAIN, context.plan.interval))


def _end(context: Context, taken: Taken, after: timedelta) -> None:
    with context.sessions.writing() as session:
        end_chore(session, taken, next_at=context.now() + after, now=context.now())
