"""Backups and drills as the pages show them: a state's mark, words, and figures with their units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.backups.retention import Plan as Kept
from core.store.backups import FAILED, PASSED, REMOVED, RUNNING, Backup, Drill

KINDS: Final = {"due": "by plan", "asked": "asked for", "migration": "before a migration"}
_RESTORABLE: Final = {True: ("ok", "Yes"), False: ("bad", "No"), None: ("info", "Not tried yet")}
_UNTRIED = "Nobody knows until it was restored and compared. Its drill does that."
_STOPPED = "Its worker gave no sign for a while. It is taken up again by itself, or begun anew."
_KILO, _MINUTE, _HOUR = 1_000, 60, 3_600
_TENTHS_BELOW = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A backup in a list. `mark` and `word` answer whether it can be restored, `reason` says why; figures are "" where there is none.

    `kept_as`: what retention counts it as; "" where it does not count at all.
    """

    ref: str
    at: datetime
    kind: str
    mark: str
    word: str
    reason: str
    proven_at: datetime | None
    fidelity: str
    coverage: str
    size: str
    kept_as: str
    stored: bool


def line(backup: Backup, kept: Kept, now: datetime) -> Line:
    """The backup in one line."""
    mark, word, reason = standing(backup, now)
    return Line(
        ref=backup.ref,
        at=backup.at or backup.began_at,
        kind=KINDS.get(backup.kind, backup.kind),
        mark=mark,
        word=word,
        reason=reason,
        proven_at=backup.proven_at,
        fidelity=percent(backup.fidelity),
        coverage=percent(backup.coverage),
        size=size(backup.size_bytes) if backup.size_bytes else "",
        kept_as=", ".join(kept.kept_as.get(backup.ref, ())),
        stored=backup.state not in {RUNNING, FAILED, REMOVED},
    )


def standing(backup: Backup, now: datetime) -> tuple[str, str, str]:
    """Mark, word and reason: whether it can be restored."""
    if backup.state == RUNNING:
        return ("live", "Being made", "") if in_hand(backup.lease_until, now) else ("unk", "Stopped", _STOPPED)
    if backup.state == FAILED:
        return "bad", "Failed", backup.error
    if backup.state == REMOVED:
        return "paused", "Removed", f"It was removed: {backup.removed_why}."
    mark, word = _RESTORABLE[backup.restorable]
    return mark, word, backup.why if backup.restorable is not None else _UNTRIED


@dataclass(frozen=True, slots=True)
class DrillShown:
    """A drill that ended. `steps` are names and times, `backup` is the reference of what was restored, "" where that is not at hand."""

    ref: str
    backup: str
    mark: str
    word: str
    began_at: datetime
    fidelity: str
    coverage: str
    accounts: tuple[int, int]
    aged: tuple[int, int]
    tables: int
    rows: int
    steps: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def stopped_or_differs(self) -> bool:
        """Whether its last step is where it went wrong: it came no further, or what was compared is not the same."""
        return self.mark == "bad" and (not self.fidelity or bool(self.differences))


def drill_shown(drill: Drill, backup: str) -> DrillShown:
    """The drill as the page tells of it."""
    passed = drill.state == PASSED
    took = f" {'in' if passed else 'after'} {length((drill.ended_at - drill.began_at).total_seconds())}" if drill.ended_at else ""
    return DrillShown(
        ref=drill.ref,
        backup=backup,
        mark="ok" if passed else "bad",
        word=f"{'Passed' if passed else 'Failed'}{took}",
        began_at=drill.began_at,
        fidelity=percent(drill.fidelity),
        coverage=percent(drill.coverage),
        accounts=(drill.accounts_held, drill.accounts_alive),
        aged=(drill.aged_held, drill.aged_alive),
        tables=drill.tables,
        rows=drill.rows,
        steps=tuple(_step(step) for step in drill.steps),
        faults=tuple(drill.faults),
        differences=tuple(drill.differences),
    )


def _step(told: str) -> tuple[str, str]:
    """`core.backups.restore.Log` writes "Fetch: 0.02 s"."""
    name, _, took = told.rpartition(": ")
    try:
        return name, length(float(took.removesuffix(" s")))
    except ValueError:
        return told, ""


def in_hand(lease_until: datetime | None, now: datetime) -> bool:
    """Whether a worker has it in hand."""
    return lease_until is not None and lease_until > now


def percent(value: float | None) -> str:
    """99.982 %, never parted; "" where there is none."""
    return "" if value is None else f"{value:.3f}\u00a0%"


def size(count: int) -> str:
    """Bytes as people read them, in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < _KILO:
            return f"{value:.0f}\u00a0{unit}" if unit == "B" else f"{value:.1f}\u00a0{unit}"
        value /= _KILO
    return f"{value:.1f}\u00a0TB"


def length(seconds: float) -> str:
    """11 min 40 s, 0.02 s: how long something took."""
    if seconds < _TENTHS_BELOW:
        return f"{max(0.0, seconds):.2f}\u00a0s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}\u00a0s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}\u00a0min {whole % _MINUTE:02}\u00a0s"
    return f"{whole // _HOUR}\u00a0h {whole % _HOUR // _MINUTE:02}\u00a0min"
