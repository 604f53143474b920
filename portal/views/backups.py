"""Backups, for those who run the installation: whether they can be restored, what is under way, and the acts that are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.backups import ask_backup, ask_drill, lift_hold, manifest_of, set_hold
from core.actions.policy import Actor, Permission, Refused, require_installation
from core.backups.facts import known_until
from core.backups.manifest import UnreadableManifest
from core.backups.retention import Candidate, Plan, plan
from core.store.backups import FAILED, REMOVED, RUNNING, STORED, Backup, Drill, Hold, backup_by_ref, drills_of, newest_kit, open_holds
from portal import backups_asked as asked
from portal import backups_shown as shown
from portal import backups_verdict as told
from portal.backups_beside import beside
from portal.cursors import place_after, read_place
from portal.frame import alarms_going_on
from portal.gate import found, gate
from portal.html import page, tell
from portal.parts import acting, now, parts, reading

views = Blueprint("backups", __name__)
_ROWS = 30


@views.get("/backups")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """The page; its fragment is what is under way, and the lists once they changed. While something is, it asks for itself again."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    return page("backups/show.html", part="backups/_state.html", tab="backups", **_values())


@views.get("/backups/<ref>")
@gate(Permission.SEE_OPERATIONS)
def show_one(actor: Actor, ref: str) -> ResponseReturnValue:
    """One backup: what is in it, where it lies, and what its drills found."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    backup = found(backup_by_ref(reading(), ref))
    return page("backups/backup.html", part="backups/_backup.html", tab="backups", **_one(backup))


@views.post("/backups/now")
@gate(Permission.OPERATE)
def back_up(actor: Actor) -> ResponseReturnValue:
    """Ask for a backup, and back to the page, which then waits for it."""
    with acting() as session:
        ask_backup(session, actor, now=now())
    tell("live", "A backup was asked for. It begins as soon as a worker is free.")
    return redirect("/backups", 303)


@views.post("/backups/<ref>/prove")
@gate(Permission.OPERATE)
def prove(actor: Actor, ref: str) -> ResponseReturnValue:
    """Ask for a drill of this backup."""
    try:
        with acting() as session:
            ask_drill(session, actor, ref=ref, now=now())
    except Refused as refused:
        tell("bad", str(refused))
    else:
        tell("live", "A drill was asked for. The backup is restored beside the live database and compared.")
    return redirect("/backups", 303)


@views.post("/backups/holds")
@gate(Permission.OPERATE)
def hold(actor: Actor) -> ResponseReturnValue:
    """Keep every backup until somebody lifts the hold."""
    reason = request.form.get("reason", "")
    try:
        with acting() as session:
            set_hold(session, actor, reason=reason, now=now())
    except Refused as refused:
        return page("backups/show.html", status=422, tab="backups", **_values(reason=reason, error=str(refused)))
    tell("paused", "The hold is set. No backup is removed until it is lifted.")
    return redirect("/backups", 303)


@views.post("/backups/holds/<ref>/lift")
@gate(Permission.OPERATE)
def lift(actor: Actor, ref: str) -> ResponseReturnValue:
    """Let retention go on, once no other hold is set."""
    try:
        with acting() as session:
            lift_hold(session, actor, ref=ref, now=now())
    except Refused as refused:
        tell("info", str(refused))
    else:
        tell("ok", "The hold was lifted.")
    return redirect("/backups", 303)


def _values(*, reason: str = "", error: str = "") -> dict[str, Any]:
    session = reading()
    there, holds = asked.in_store(session), open_holds(session)
    stored = [backup for backup in there if backup.state == STORED]
    newest = stored[0] if stored else None
    until, skip = read_place(request.args.get("before", ""))
    rows = asked.tries(session, until=until, skip=skip, most=_ROWS + 1)
    running, last = asked.newest_drills(session)
    kept = _kept(stored, holds)
    kit = newest_kit(session)
    aside = beside(parts().plan, newest, kit)
    troubles = told.troubles(alarms_going_on(), newest)
    failed = newest is None and any(row.state == FAILED for row in rows)
    proven = next((backup for backup in stored if backup.restorable), None)
    seen = f"{newest.ref if newest else ''}.{last.ref if last else ''}"
    waiting = _waiting(there, running)
    return {
        "verdict": told.verdict(newest, proven, last, troubles, failed=failed, refused=bool(aside.refused)),
        "troubles": troubles,
        "newest": newest,
        "last": shown.drill_shown(last, next((each.ref for each in there if each.id == last.backup_id), "")) if last else None,
        "lines": [shown.line(row, kept, now()) for row in rows[:_ROWS]],
        "older": place_after([row.began_at for row in rows[:_ROWS]], until, skip) if len(rows) > _ROWS else "",
        "is_older": until is not None,
        "count": len(stored),
        "size": shown.size(sum(backup.size_bytes for backup in stored)),
        "removed": [backup for backup in there if backup.state == REMOVED],
        "keep": parts().plan.retention.words,
        "blocked": kept.blocked,
        "holds": holds,
        "people": asked.people(session, (each.set_by for each in holds)),
        "aside": aside,
        "kit": kit,
        "reason": reason,
        "error": error,
        "address": _address(before=request.args.get("before", ""), seen=seen),
        "changed": not waiting["progress"] or request.args.get("seen") != seen,
        **waiting,
    }


def _waiting(there: Sequence[Backup], running: Drill | None) -> dict[str, Any]:
    """What is under way, and when what is planned falls due."""
    due = asked.chores(reading())
    made = next((backup for backup in there if backup.state == RUNNING), None)
    postgresql = parts().plan.postgresql
    backup = told.backing_up(due.get("backup"), made, now(), postgresql=postgresql)
    drill = told.drilling(due.get("drill"), running, now(), postgresql=postgresql)
    return {
        "chores": due,
        "backing_up": backup,
        "drilling": drill,
        "progress": sorted(filter(None, (backup, drill)), key=lambda each: not each.running),
    }


def _kept(stored: Sequence[Backup], holds: Sequence[Hold]) -> Plan:
    candidates = [Candidate(row.ref, row.at or row.began_at, row.restorable is True) for row in stored]
    return plan(candidates, parts().plan.retention, held=bool(holds), known_until=known_until(reading()), now=now())


def _one(backup: Backup) -> dict[str, Any]:
    """A failed try may have no manifest: then there is nothing to say of what is in it."""
    session = reading()
    drills = drills_of(session, backup.id)
    running = next((drill for drill in drills if drill.ended_at is None), None)
    chore = asked.chores(session).get("drill")
    about = running is not None or (chore is not None and chore.about == backup.ref)
    drill = told.drilling(chore, running, now(), postgresql=backup.engine == "postgresql") if about else None
    try:
        manifest = manifest_of(backup)
    except UnreadableManifest as error:
        manifest, unreadable = None, str(error) if backup.manifest else ""
    else:
        unreadable = ""
    return {
        "backup": backup,
        "kind": shown.KINDS.get(backup.kind, backup.kind),
        "standing": shown.standing(backup, now()),
        "percents": (shown.percent(backup.fidelity), shown.percent(backup.coverage)),
        "size": shown.size(backup.size_bytes) if backup.size_bytes else "",
        "took": shown.length((backup.ended_at - backup.began_at).total_seconds()) if backup.ended_at else "",
        "manifest": manifest,
        "unreadable": unreadable,
        "drills": [shown.drill_shown(each, backup.ref) for each in drills if each.ended_at is not None],
        "progress": [drill] if drill is not None else [],
        "address": f"/backups/{backup.ref}",
    }


def _address(**asked_for: str) -> str:
    query = urlencode({name: value for name, value in asked_for.items() if value})
    return f"/backups?{query}"
