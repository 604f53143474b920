"""A drill: the newest backup, or the one that was asked for, is restored and compared. Silence is noticed by `jobs/look.py`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.backups import begin_drill, note_drill_step, record_drill, stored_of
from core.actions.chores import Taken, end_chore, take_chore
from core.actions.policy import Actor
from core.backups import keys, kit
from core.backups.drill import Proof, aged_before, prove
from core.backups.engine import BackupError
from core.backups.files import clear_scratch, drop_scratch, make_scratch, refused
from core.backups.manifest import UnreadableManifest
from core.backups.restore import Log
from core.backups.stored import Stored, apart, get_small
from core.seal import Identity
from core.store.backups import STORED, Backup, alive_accounts, backup_by_ref, newest_kit
from core.targets import Target, TargetError
from jobs.context import Context
from jobs.kits import put_kit
from jobs.lease import LEASE, kept

WORKER: Final = Actor(worker=True)
EVEN_WITHOUT: Final = timedelta(hours=1)
"""How much longer than a backup interval a drill waits for a newer backup: then the newest is proven once more."""
log = logging.getLogger("keychest.drill")


def drill(context: Context, *words: str) -> None:
    """Prove what is due; with words: a backup's reference ("" the newest), and the file of a key to open it and the recovery kit with."""
    with context.sessions.writing() as session:
        taken = take_chore(session, "drill", lease=LEASE, now=context.now(), anyway=bool(words))
    if taken is None:
        log.info("another worker has the drill in hand, or none is due")
        return
    ref, key_file = (*words, "", "")[:2]
    with kept(context, taken):
        _prove(context, taken, str(ref) or taken.about, str(key_file))


def _prove(context: Context, taken: Taken, ref: str, key_file: str) -> None:
    with context.sessions.writing() as session:
        backup = backup_by_ref(session, ref) if ref else _stored_last(session)
        if backup is None or backup.state != STORED:
            log.warning("there is no such backup to prove")
            end_chore(session, taken, next_at=None, now=context.now())
            return
        row = begin_drill(session, WORKER, backup=backup, now=context.now())
        drill_id, drill_ref = row.id, row.ref
        holding = frozenset(shown for shown, error in backup.targets.items() if not error)
        try:
            stored = stored_of(backup)
        except UnreadableManifest as error:
            record_drill(session, WORKER, drill_id=drill_id, proof=_nothing(str(error)), now=context.now())
            end_chore(session, taken, next_at=None, now=context.now())
            return
    proof = _run(context, stored, drill_id, drill_ref, key_file, holding=holding)
    extra = _kit_faults(context)
    with context.sessions.writing() as session:
        if not end_chore(session, taken, next_at=context.now() + context.plan.interval + EVEN_WITHOUT, now=context.now()):
            log.warning("drill %s took a sleep longer than its lease, and another worker held it: that one counts", drill_ref)
            return
        record_drill(session, WORKER, drill_id=drill_id, proof=proof, extra=extra, now=context.now())
    log.info("drill %s: %s", drill_ref, "passed" if proof.passed and not extra else "; ".join((*proof.faults, *extra)))


def _stored_last(session: Session) -> Backup | None:
    """The one that was begun last, not the one with the latest point: a clock that was ahead would hide what came after it."""
    return session.scalar(sa.select(Backup).where(Backup.state == STORED).order_by(Backup.id.desc()).limit(1))


def _run(context: Context, stored: Stored, drill_id: int, drill_ref: str, key_file: str, *, holding: Collection[str]) -> Proof:
    def say(step: str) -> None:
        with context.sessions.writing() as session:
            note_drill_step(session, drill_id, step)

    clear_scratch(context.data, "drill-")
    scratch = make_scratch(context.data, f"drill-{drill_ref}", passable=context.plan.postgresql)
    try:
        identities = keys.read_identities(Path(key_file)) if key_file else [keys.drill_identity(context.data)]
        with context.sessions.reading() as session:
            alive = alive_accounts(session)
        return prove(
            context.plan.engine(),
            stored,
            _holding(context, holding),
            identities,
            live=stored.manifest,
            alive=alive,
            aged_before=aged_before(context.now(), context.plan.interval),
            scratch=scratch,
            log=Log(time.monotonic, say),
            also=_unwrap(context, identities) if key_file else None,
        )
    except BackupError as error:
        return _nothing(str(error))
    except OSError as error:
        return replace(_nothing(refused(error)), undecided=True)
    except Exception as error:
        log.exception("the drill could not be held")
        return _nothing(f"The drill itself failed: {type(error).__name__}: {error}.")
    finally:
        drop_scratch(scratch)


def _holding(context: Context, holding: Collection[str]) -> Sequence[Target]:
    """The targets that took the backup; all, where none of today's did. That another never had it is told by an alarm of its own."""
    targets = context.plan.targets()
    return [target for target in targets if target.shown in holding] or targets


def _unwrap(context: Context, identities: Sequence[Identity]) -> Callable[[Session], list[str]]:
    """With the offline key at hand: the kit opens, and by it alone one record of every kind of secret in the restored copy."""
    with context.sessions.reading() as session:
        row = newest_kit(session)
    if row is None:
        raise BackupError("missing", "No recovery kit was written yet.")
    errors = []
    for target in apart(context.plan.targets()):
        try:
            opened = kit.open_kit(get_small(target, row.name), identities)
        except (TargetError, BackupError) as error:
            errors.append(f"{target.shown}: {error}")
        else:
            return partial(_unwrapped, opened)
    raise BackupError("missing", f"The recovery kit cannot be opened. {' '.join(errors)}")


def _unwrapped(opened: kit.Kit, session: Session) -> list[str]:
    return kit.unwrap_each(session, opened)


def _kit_faults(context: Context) -> list[str]:
    """Whether the kit stands for the keys in use: written first where they changed, then compared. In production a fault of the drill.

    On PostgreSQL the drill runs from a data folder without those keys: there `look` compares, and an alarm tells.
    """
    if context.plan.postgresql:
        return []
    try:
        put_kit(context)
    except (BackupError, TargetError, OSError) as error:
        log.warning("the recovery kit: %s", error)
    if not context.plan.production:
        return []
    with context.sessions.reading() as session:
        row = newest_kit(session)
    if row is None:
        return ["There is no recovery kit: without it a restored database lacks the keys it needs."]
    return kit.compare(row.fingerprints, context.plan.place())


def _nothing(fault: str) -> Proof:
    return Proof(None, None, 0, 0, 0, 0, 0, 0, (), (fault,), ())
