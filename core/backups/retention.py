"""Which backups are kept: hourly, daily, weekly and monthly ones, the newest of each; and when nothing may be removed at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

PROVEN_WITHIN: Final = timedelta(days=1)
"""Nothing is removed while the newest proven backup is older than this."""
CLOCKS_DIFFER: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Keep:
    """How many are kept of each kind. A backup may count as several."""

    hourly: int = 24
    daily: int = 14
    weekly: int = 8
    monthly: int = 12

    @classmethod
    def read(cls, text: str) -> Keep:
        """From words like "hourly=24,daily=14,weekly=8,monthly=12"; what is left out is kept as by default. Raises ValueError."""
        wanted: dict[str, int] = {}
        for part in (part.strip() for part in text.split(",") if part.strip()):
            name, _, number = part.partition("=")
            if name.strip() not in {"hourly", "daily", "weekly", "monthly"} or not number.strip().isdecimal():
                raise ValueError("write how many are kept, like hourly=24,daily=14,weekly=8,monthly=12")
            wanted[name.strip()] = int(number)
        keep = cls(**wanted)
        if keep.daily < 1:
            raise ValueError("keep one daily backup at least, like daily=14")
        return keep

    @property
    def words(self) -> tuple[tuple[str, str], ...]:
        """As a page shows it."""
        told = (
            ("Hourly", self.hourly, "hour"),
            ("Daily", self.daily, "day"),
            ("Weekly", self.weekly, "week"),
            ("Monthly", self.monthly, "month"),
        )
        return tuple((name, f"{count} {unit}{'' if count == 1 else 's'}" if count else "none") for name, count, unit in told)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored backup, as retention sees it. `proven`: its newest drill passed."""

    ref: str
    at: datetime
    proven: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be removed now, oldest first, and why nothing may where that is so. `kept_as` tells what each of the others counts as."""

    remove: tuple[str, ...]
    blocked: str
    kept_as: dict[str, tuple[str, ...]]


_SLOTS: tuple[tuple[str, Callable[[datetime], str]], ...] = (
    ("hourly", lambda at: f"{at:%Y-%m-%dT%H}"),
    ("daily", lambda at: f"{at:%Y-%m-%d}"),
    ("weekly", lambda at: f"{at:%G-W%V}"),
    ("monthly", lambda at: f"{at:%Y-%m}"),
)


def plan(backups: Sequence[Candidate], keep: Keep, *, held: bool, known_until: datetime | None = None, now: datetime) -> Plan:
    """What to keep and what to remove. The newest backup and the newest proven one always stay.

    `known_until`: the latest time that anything was noted at; where that is later than now, a clock is wrong and nothing is removed.
    """
    newest_first = sorted(backups, key=lambda each: (each.at, each.ref), reverse=True)
    kept = _kept(newest_first, keep)
    proven = next((each for each in newest_first if each.proven), None)
    for each, word in ((newest_first[0] if newest_first else None, "newest"), (proven, "newest proven")):
        if each is not None:
            kept.setdefault(each.ref, ())
            kept[each.ref] = (*kept[each.ref], word)
    blocked = _blocked(newest_first, proven, held=held, known_until=known_until, now=now)
    gone = () if blocked else tuple(each.ref for each in reversed(newest_first) if each.ref not in kept)
    return Plan(gone, blocked, kept)


def _kept(newest_first: Sequence[Candidate], keep: Keep) -> dict[str, tuple[str, ...]]:
    """The newest of each of the last N hours, days, weeks and months that have one; a proven one of a day rather than one that is not."""
    kept: dict[str, tuple[str, ...]] = {}
    for word, slot in _SLOTS:
        taken: dict[str, Candidate] = {}
        for each in newest_first:
            place = slot(each.at.astimezone(UTC))
            if place not in taken and len(taken) == getattr(keep, word):
                break
            if place not in taken or (each.proven and not taken[place].proven):
                taken[place] = each
        for each in taken.values():
            kept[each.ref] = (*kept.get(each.ref, ()), word)
    return kept


def _blocked(
    newest_first: Sequence[Candidate], proven: Candidate | None, *, held: bool, known_until: datetime | None, now: datetime
) -> str:
    if held:
        return "A hold is set: nothing is removed."
    latest = max([at for at in (known_until, *(each.at for each in newest_first[:1])) if at is not None], default=now)
    if latest > now + CLOCKS_DIFFER:
        return "Something was noted at a time that is still to come: a clock is wrong, and nothing is removed until that time is past."
    if proven is None:
        return "No backup is proven yet: nothing is removed."
    if now - proven.at > PROVEN_WITHIN:
        return "The newest proven backup is older than a day: nothing is removed until a newer one is proven."
    return ""
