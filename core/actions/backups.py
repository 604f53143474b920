"""Backups and drills: asked for, begun, stored, failed, proven, removed. Each is an event: strangers may count them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.chores import want_chore
from core.actions.policy import Actor, Permission, Refused, require_installation, require_worker
from core.backups.drill import Proof
from core.backups.manifest import Manifest
from core.backups.stored import Stored, name_of
from core.store.backups import FAILED, PASSED, REMOVED, RUNNING, STORED, Backup, Drill, Hold, RecoveryKit, backup_by_ref, open_holds
from core.store.base import new_ref

_REASON_LEAST, _REASON_MOST = 4, 500
STOPPED = "Its worker was stopped in the middle. Nothing was lost; the next backup was begun anew."


def ask_backup(session: Session, actor: Actor, *, now: datetime) -> None:
    """Have a backup made as soon as a worker is free."""
    require_installation(actor, Permission.OPERATE)
    want_chore(session, "backup", now=now)
    append(session, Event("backup.requested.v1", now, actor.name))


def ask_drill(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """Have a stored backup restored and compared as soon as a worker is free; "" is the newest. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    backup = backup_by_ref(session, ref or "newest")
    if backup is None or backup.state != STORED:
        raise Refused("There is no such backup to prove. Make one first.")
    want_chore(session, "drill", about=backup.ref, now=now)
    append(session, Event("drill.requested.v1", now, actor.name, public={"backup": backup.ref}))


def set_hold(session: Session, actor: Actor, *, reason: str, now: datetime) -> str:
    """Keep every backup until the hold is lifted; its reference. Raises Refused for a reason that says nothing."""
    require_installation(actor, Permission.OPERATE)
    reason = reason.strip()
    if not _REASON_LEAST <= len(reason) <= _REASON_MOST:
        raise Refused("Say in a few words why, for those who find the hold later. Nothing was changed.", "reason")
    hold = Hold(ref=new_ref(), reason=reason, set_by=actor.name, set_at=now, lifted_at=None)
    session.add(hold)
    append(session, Event("backup_hold.set.v1", now, actor.name, public={"hold": hold.ref}, private={"reason": reason}))
    return hold.ref


def lift_hold(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """Let retention go on, once no other hold is set. Raises Refused where it was lifted already."""
    require_installation(actor, Permission.OPERATE)
    hold = next((each for each in open_holds(session) if each.ref == ref), None)
    if hold is None:
        raise Refused("This hold was lifted already. Nothing was changed.")
    hold.lifted_at, hold.lifted_by = now, actor.name
    append(session, Event("backup_hold.lifted.v1", now, actor.name, public={"hold": ref}))


def begin_backup(session: Session, actor: Actor, *, engine: str, kind: str, lease: timedelta, now: datetime) -> Backup | None:
    """A backup that begins; None while another one is running. One whose worker was stopped is told as failed first, unless it is whole.

    A running one that had its manifest is left to `settle_backups`, which looks at the targets whether it is whole.
    """
    require_worker(actor)
    running = session.scalar(sa.select(Backup).where(Backup.state == RUNNING).with_for_update())
    if running is not None:
        if running.lease_until is not None and now < running.lease_until <= now + lease:
            return None
        fail_backup(session, actor, running, error=STOPPED, now=now)
        session.flush()
    ref = new_ref()
    backup = Backup(
        ref=ref, engine=engine, kind=kind, state=RUNNING, step="Copy", name=name_of(now, ref), began_at=now, lease_until=now + lease,
        at=None, ended_at=None, manifest={}, targets={}, restorable=None, proven_at=None, fidelity=None, coverage=None, removed_at=None,
    )  # fmt: skip
    session.add(backup)
    session.flush()
    append(session, Event("backup.begun.v1", now, actor.name, public={"backup": ref, "engine": engine}))
    return backup


def note_step(session: Session, backup_id: int, step: str) -> None:
    """What is being done now, for the page that shows it."""
    session.execute(sa.update(Backup).where(Backup.id == backup_id).values(step=step).execution_options(synchronize_session=False))


def note_taken(session: Session, backup_id: int, stored: Stored) -> None:
    """Keep the manifest of the live database before anything leaves: a worker that is stopped later has lost nothing of it."""
    values = {"manifest": stored.manifest.to_json(), "at": stored.manifest.at, "size_bytes": stored.size_bytes, "sha256": stored.sha256}
    session.execute(sa.update(Backup).where(Backup.id == backup_id).values(values).execution_options(synchronize_session=False))


def record_backup(session: Session, actor: Actor, *, ref: str, stored: Stored, targets: Mapping[str, str], now: datetime) -> None:
    """The backup is whole at the targets that show no error in `targets`, at one of them at least; a drill is due. Twice is once."""
    require_worker(actor)
    backup = backup_by_ref(session, ref)
    if backup is None or backup.state not in {RUNNING, FAILED}:
        return
    backup.state, backup.step, backup.ended_at, backup.lease_until, backup.error = STORED, "", now, None, ""
    backup.at, backup.size_bytes, backup.sha256 = stored.manifest.at, stored.size_bytes, stored.sha256
    backup.manifest, backup.targets = stored.manifest.to_json(), dict(targets)
    want_chore(session, "drill", now=now)
    kept = sum(not error for error in targets.values())
    public: dict[str, str | int | bool] = {
        "backup": ref,
        "engine": backup.engine,
        "targets": kept,
        "accounts": stored.manifest.accounts,
        "bytes": stored.size_bytes,
    }
    append(session, Event("backup.stored.v1", now, actor.name, public=public))


def adopt_backup(session: Session, actor: Actor, *, stored: Stored, targets: Mapping[str, str], now: datetime) -> str:
    """A backup that lies whole at targets and that this database does not know, such as one from before a migration; its reference."""
    require_worker(actor)
    if backup_by_ref(session, stored.ref) is None:
        backup = Backup(
            ref=stored.ref, engine=stored.manifest.engine, kind=stored.kind, state=STORED, name=stored.name, began_at=stored.manifest.at,
            lease_until=None, at=stored.manifest.at, ended_at=now, size_bytes=stored.size_bytes, sha256=stored.sha256,
            manifest=stored.manifest.to_json(), targets=dict(targets), restorable=None, proven_at=None, fidelity=None, coverage=None,
            removed_at=None,
        )  # fmt: skip
        session.add(backup)
        session.flush()
        append(session, Event("backup.adopted.v1", now, actor.name, public={"backup": stored.ref, "engine": stored.manifest.engine}))
    return stored.ref


def fail_backup(session: Session, actor: Actor, backup: Backup, *, error: str, now: datetime) -> None:
    """The backup did not come about. What was wrong is kept in words."""
    require_worker(actor)
    backup.state, backup.step, backup.ended_at, backup.lease_until, backup.error = FAILED, "", now, None, error[:2_000]
    append(session, Event("backup.failed.v1", now, actor.name, public={"backup": backup.ref}, private={"error": error[:500]}))


def begin_drill(session: Session, actor: Actor, *, backup: Backup, now: datetime) -> Drill:
    """A drill that begins. One that was stopped in the middle before it is told as failed."""
    require_worker(actor)
    for stopped in session.scalars(sa.select(Drill).where(Drill.state == RUNNING).with_for_update()):
        stopped.state, stopped.ended_at, stopped.step = FAILED, now, ""
        stopped.faults = ["Its worker was stopped in the middle. It was begun anew."]
    drill = Drill(
        ref=new_ref(), backup_id=backup.id, state=RUNNING, step="Fetch", began_at=now, ended_at=None, fidelity=None, coverage=None,
        differences=[], faults=[], steps=[],
    )  # fmt: skip
    session.add(drill)
    session.flush()
    append(session, Event("drill.begun.v1", now, actor.name, public={"drill": drill.ref, "backup": backup.ref}))
    return drill


def note_drill_step(session: Session, drill_id: int, step: str) -> None:
    """What is being done now, for the page that shows it."""
    session.execute(sa.update(Drill).where(Drill.id == drill_id).values(step=step).execution_options(synchronize_session=False))


def record_drill(session: Session, actor: Actor, *, drill_id: int, proof: Proof, extra: Collection[str] = (), now: datetime) -> Drill:
    """What a drill found; the backup says from now on whether it can be restored. `extra`: faults beside those of the proof."""
    require_worker(actor)
    drill = session.get_one(Drill, drill_id)
    backup = session.get_one(Backup, drill.backup_id)
    faults = [*proof.faults, *extra]
    drill.state, drill.step, drill.ended_at = (FAILED if faults else PASSED), "", now
    drill.fidelity, drill.coverage = proof.fidelity, proof.coverage
    drill.accounts_alive, drill.accounts_held, drill.aged_alive, drill.aged_held = (
        proof.alive,
        proof.held,
        proof.aged_alive,
        proof.aged_held,
    )
    drill.tables, drill.rows = proof.tables, proof.rows
    drill.differences, drill.faults, drill.steps = list(proof.differences), faults, list(proof.steps)
    if not proof.undecided:
        _note_proof(backup, proof, faults, now)
    public: dict[str, str | int | bool] = {
        "drill": drill.ref, "backup": backup.ref, "passed": not faults, "fidelity": _percent(proof.fidelity),
        "coverage": _percent(proof.coverage), "accounts": proof.alive,
    }  # fmt: skip
    append(session, Event("drill.ended.v1", now, actor.name, public=public))
    return drill


def _note_proof(backup: Backup, proof: Proof, faults: list[str], now: datetime) -> None:
    backup.restorable, backup.why, backup.proven_at = not faults, " ".join(faults)[:2_000] or _proven(proof), now
    backup.fidelity, backup.coverage = proof.fidelity, proof.coverage


def _proven(proof: Proof) -> str:
    return f"All {proof.rows:,} rows of {proof.tables} tables came back the same, {proof.held:,} of {proof.alive:,} accounts are in it."


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def remove_backup(session: Session, actor: Actor, *, ref: str, why: str, now: datetime) -> None:
    """The backup's files were removed by retention. Its row stays, with the reason."""
    require_worker(actor)
    backup = backup_by_ref(session, ref)
    if backup is not None and backup.state == STORED:
        backup.state, backup.removed_at, backup.removed_why = REMOVED, now, why
        append(session, Event("backup.removed.v1", now, actor.name, public={"backup": ref, "why": why}))


def record_kit(session: Session, actor: Actor, *, kit: Mapping[str, Any], targets: Mapping[str, str], now: datetime) -> None:
    """A recovery kit was written. `kit`: name, digest, recipient and fingerprints, as the table has them."""
    require_worker(actor)
    session.add(RecoveryKit(ref=new_ref(), made_at=now, targets=dict(targets), **kit))
    append(session, Event("recovery_kit.written.v1", now, actor.name, public={"keys": len(kit["fingerprints"])}))


def manifest_of(backup: Backup) -> Manifest:
    """What was live when the backup was made, as this database kept it. Raises UnreadableManifest where it kept none."""
    return Manifest.from_json(backup.manifest)


def stored_of(backup: Backup) -> Stored:
    """The backup as it is known at the targets."""
    return Stored(backup.ref, backup.name, backup.kind, manifest_of(backup), backup.size_bytes, backup.sha256)
