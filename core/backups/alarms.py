"""When operators must be told about backups, and about the log. Silence is told too: a drill that did not run proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.backups.manifest import WHOLE
from core.backups.retention import CLOCKS_DIFFER

KINDS: Final = {
    "backup-failed": "The newest try at a backup failed.",
    "backup-old": "The newest backup is older than the goal.",
    "clock": "A clock is wrong, or was.",
    "coverage": "Accounts older than a backup interval are in no proven backup.",
    "drill-failed": "The newest drill did not prove its backup.",
    "silence": "A drill was due and did not run.",
    "target": "A target did not take the newest backup.",
    "kit": "The recovery kit does not stand for the keys in use.",
    "log": "The log signs nothing.",
}
"""Every kind of alarm, and what it says."""
DRILL_WITHIN: Final = timedelta(hours=1)
"""A backup is to be proven this soon after it was stored."""
LOG_WITHIN: Final = timedelta(minutes=10)
"""What happened is to be in the log this soon."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about backups and the log now; None where there is no time. `last_error`: of a try newer than the newest backup."""

    installed_at: datetime
    newest_at: datetime | None
    newest_stored_at: datetime | None
    newest_proven: bool | None
    last_error: str
    target_errors: tuple[str, ...]
    drilled_at: datetime | None
    drill_faults: tuple[str, ...]
    fidelity: float | None
    coverage: float | None
    aged_missing: int = 0
    kit_faults: tuple[str, ...] = ()
    known_until: datetime | None = None
    log_trouble: str = ""
    log_waits_since: datetime | None = None


def alarms(facts: Facts, *, interval: timedelta, longest_age: timedelta, now: datetime) -> dict[str, str]:
    """The alarms that hold now, by kind, each in words. None twice: what opened stays open until it is not found any more."""
    found: dict[str, str] = {}
    if facts.last_error:
        found["backup-failed"] = f"The newest try at a backup failed: {facts.last_error} It is tried again by itself."
    since = facts.newest_at or facts.installed_at
    if now - since > longest_age:
        what = f"The newest backup is from {_when(facts.newest_at)}" if facts.newest_at else "There is no backup yet"
        found["backup-old"] = f"{what}. The goal is one every {_hours(longest_age)}. What was typed in since then is in no backup."
    if facts.drill_faults:
        shares = "".join(
            f" {name} {value:.3f} %." for name, value in (("Fidelity", facts.fidelity), ("Coverage", facts.coverage)) if value is not None
        )
        found["drill-failed"] = f"The newest drill did not prove its backup.{shares} {' '.join(facts.drill_faults)}"
    if facts.aged_missing:
        lacks = f"lacks {facts.aged_missing:,} accounts that are older than {_hours(interval)}"
        found["coverage"] = f"The newest backup that was drilled {lacks}."
    if facts.known_until is not None and facts.known_until > now + CLOCKS_DIFFER:
        agree = "No backup is removed until they agree."
        found["clock"] = (
            f"It is {_when(now)}, and something was noted at {_when(facts.known_until)}: one of the two clocks is wrong. {agree}"
        )
    if silent := _silent(facts, interval, now):
        found["silence"] = silent
    if facts.target_errors:
        found["target"] = f"The newest backup is not at every target: {' '.join(facts.target_errors)}"
    found |= _kit_and_log(facts, now)
    return found


def _kit_and_log(facts: Facts, now: datetime) -> dict[str, str]:
    found = {}
    if facts.kit_faults:
        found["kit"] = " ".join(facts.kit_faults)
    if unsigned := facts.log_trouble or _unsigned(facts, now):
        found["log"] = unsigned
    return found


def _unsigned(facts: Facts, now: datetime) -> str:
    if facts.log_waits_since is None or now - facts.log_waits_since <= LOG_WITHIN:
        return ""
    return f"What happened at {_when(facts.log_waits_since)} is not in the log yet. Look whether the sequencer runs, and at what it says."


def _silent(facts: Facts, interval: timedelta, now: datetime) -> str:
    if facts.newest_stored_at is not None and facts.newest_proven is None and now - facts.newest_stored_at > DRILL_WITHIN:
        return f"The newest backup, stored {_when(facts.newest_stored_at)}, was not restored and compared within {_hours(DRILL_WITHIN)}."
    since = facts.drilled_at or facts.installed_at
    if now - since > interval + 2 * DRILL_WITHIN:
        last = f"The last drill ended {_when(facts.drilled_at)}" if facts.drilled_at else "No drill has run yet"
        return f"{last}; one was due within {_hours(interval + 2 * DRILL_WITHIN)}. Until one runs, no backup is known to be good."
    return ""


def whole(value: float | None) -> bool:
    """Whether a share is all of it."""
    return value is not None and value >= WHOLE


def _when(at: datetime | None) -> str:
    return f"{at:%-d %b %Y, %H:%M} UTC" if at else "never"


def _hours(length: timedelta) -> str:
    hours = length.total_seconds() / 3_600
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hour{'' if round(hours) == 1 else 's'}"
