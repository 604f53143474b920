"""The first sentence of the page about backups, what is wrong in words, and how far the work at hand has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.backups.alarms import KINDS, whole
from core.store.backups import Alarm, Backup, Chore, Drill
from portal.backups_shown import in_hand, percent

BACKUP_STEPS: Final = ("Copy", "Seal", "Store")
DRILL_STEPS: Final = ("Fetch", "Open the seal", "Restore", "Open and compare")
_OF_POSTGRESQL: Final = frozenset({"Copy", "Store", "Restore", "Open and compare"})
"""pgBackRest seals and fetches by itself, so these are the steps that there are."""
_BY_A_DRILL: Final = frozenset({"drill-failed", "silence"})
_BY_A_BACKUP: Final = frozenset({"backup-failed", "backup-old"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How backups stand, in a sentence with a number; `word` and `at` add a time to it, such as "Proven", six hours ago."""

    sentence: str
    word: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """An open alarm. `over`: what was wrong has been mended since, and the next look closes it."""

    what: str
    message: str
    since: datetime
    over: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Work that is wanted or under way. `done` of the `steps` are behind it; `running`: the next of them is being done now."""

    title: str
    note: str
    steps: tuple[str, ...]
    done: int
    running: bool
    since: datetime | None = None


def troubles(alarms: Sequence[Alarm], newest: Backup | None) -> tuple[Trouble, ...]:
    """Open alarms, the gravest first."""
    gravest = {kind: number for number, kind in enumerate(KINDS)}
    in_order = sorted(alarms, key=lambda alarm: (gravest.get(alarm.kind, len(gravest)), alarm.opened_at))
    return tuple(_trouble(alarm, newest) for alarm in in_order)


def _trouble(alarm: Alarm, newest: Backup | None) -> Trouble:
    what = KINDS.get(alarm.kind, "Something about backups needs you.")
    mended = None
    if newest is not None and alarm.kind in _BY_A_DRILL and newest.restorable:
        mended = newest.proven_at
    elif newest is not None and alarm.kind in _BY_A_BACKUP:
        mended = newest.ended_at
    message = alarm.message.removeprefix(what.rstrip(".")).lstrip(".: ")
    return Trouble(what, message, alarm.opened_at, over=mended is not None and mended > alarm.opened_at)


def verdict(
    newest: Backup | None, proven: Backup | None, drill: Drill | None, found: Sequence[Trouble], *, failed: bool, refused: bool
) -> Verdict:
    """The sentence. `drill`: the one that ended last; `proven`: the newest that is; `failed`: the newest try at a backup did."""
    going_on = [trouble for trouble in found if not trouble.over]
    if newest is None:
        if refused:
            return Verdict("No backup yet, and none can be made.")
        return Verdict("No backup yet. The first try failed." if failed else "No backup yet. The first one is being made.")
    if newest.restorable is False:
        return Verdict(f"The newest backup {_lacks(newest)}.", "Tried", newest.proven_at)
    if going_on:
        more = f" {len(going_on) - 1} more to look at." if len(going_on) > 1 else ""
        return Verdict(f"{going_on[0].what}{more}", "Noticed", going_on[0].since)
    if newest.restorable is None:
        before = proven.proven_at if proven is not None else None
        return Verdict("The newest backup is not proven yet.", "The one before was proven" if before else "", before)
    return Verdict(_share(newest, drill), "Proven", newest.proven_at)


def _lacks(newest: Backup) -> str:
    if newest.fidelity is None or newest.coverage is None:
        return "cannot be restored"
    if whole(newest.fidelity) and whole(newest.coverage):
        return "came back, but not without faults"
    return f"did not come back whole: fidelity {percent(newest.fidelity)}, coverage {percent(newest.coverage)}"


def _share(newest: Backup, drill: Drill | None) -> str:
    if whole(newest.coverage):
        return "Every account can be restored."
    if drill is None or drill.backup_id != newest.id:
        return f"{percent(newest.coverage)} of the accounts can be restored; the others are newer than the backup."
    return f"{drill.accounts_held:,} of {drill.accounts_alive:,} accounts can be restored; the others are newer than the backup."


def backing_up(chore: Chore | None, running: Backup | None, now: datetime, *, postgresql: bool) -> Progress | None:
    """The backup that is wanted, due or being made; None where there is nothing to wait for."""
    steps = _steps(BACKUP_STEPS, postgresql=postgresql)
    if running is not None and in_hand(running.lease_until, now):
        return Progress("A backup is being made", "", steps, _index(steps, running.step), running=True, since=running.began_at)
    if not _is_awaited(chore, now):
        return None
    return _awaited(chore, now, "backup", steps, stopped=running is not None)


def drilling(chore: Chore | None, running: Drill | None, now: datetime, *, postgresql: bool) -> Progress | None:
    """The drill that is wanted, due or under way; None where there is nothing to wait for."""
    steps = _steps(DRILL_STEPS, postgresql=postgresql)
    if chore is not None and running is not None and in_hand(chore.lease_until, now):
        return Progress("A drill is under way", "", steps, _index(steps, running.step), running=True, since=running.began_at)
    if not _is_awaited(chore, now):
        return None
    return _awaited(chore, now, "drill", steps, stopped=running is not None)


def _awaited(chore: Chore | None, now: datetime, what: str, steps: tuple[str, ...], *, stopped: bool) -> Progress:
    if chore is not None and in_hand(chore.lease_until, now):
        return Progress(f"A worker has the {what} in hand", "It begins, or ends, just now.", (), 0, running=True)
    if stopped:
        return Progress(f"The {what} was stopped in the middle", "A worker takes it up again by itself.", steps, 0, running=False)
    title = f"A {what} was asked for" if chore is not None and chore.wanted_at is not None else f"A {what} is due"
    return Progress(title, "It begins as soon as a worker is free.", steps, 0, running=False)


def _is_awaited(chore: Chore | None, now: datetime) -> bool:
    if chore is None:
        return False
    return chore.wanted_at is not None or in_hand(chore.lease_until, now) or (chore.next_at is not None and chore.next_at <= now)


def _steps(names: tuple[str, ...], *, postgresql: bool) -> tuple[str, ...]:
    return tuple(name for name in names if name in _OF_POSTGRESQL) if postgresql else names


def _index(steps: tuple[str, ...], step: str) -> int:
    return steps.index(step) if step in steps else 0
