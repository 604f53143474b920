"""What was measured of each component, minute by minute: how it stands, since when, and for how long it was well on each UTC day.

It is kept in a file, not in the database: it goes on while what it measures is down.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, cast

from core.status.told import COMPONENTS, Component, ComponentState, Day

DAYS: Final = 90
LONGEST_STEP: Final = timedelta(minutes=3)
"""Two measurements further apart than this say nothing of the time between them."""
_STATES: Final = frozenset({"ok", "late", "down", "unmeasured"})
_FORM: Final = "keychest-measured-1"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look found: the state, a sentence, and which probe it was."""

    state: ComponentState
    says: str
    by: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A component. `days`: seconds measured, late and down by UTC day."""

    probe: Probe
    since: datetime
    at: datetime
    days: Mapping[date, tuple[float, float, float]] = field(default_factory=dict)


Tally = Mapping[str, Measured]
"""By the component's key."""


def measure(tally: Tally, seen: Mapping[str, Probe], now: datetime) -> dict[str, Measured]:
    """The tally with this look in it. The time since the look before counts as what that one saw."""
    return dict(tally) | {key: _measure(tally.get(key), probe, now) for key, probe in seen.items()}


def components(tally: Tally, now: datetime) -> tuple[Component, ...]:
    """Every component as it stands, with its 90 days. What was not looked at for LONGEST_STEP is not known."""
    return tuple(_component(key, tally.get(key), now) for key in COMPONENTS)


def read_tally(path: Path) -> dict[str, Measured]:
    """What was kept; {} where nothing was. Raises ValueError with a sentence for a file that is none."""
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        told = None
    try:
        return {key: _read(one) for key, one in told[_FORM].items() if key in COMPONENTS}
    except (TypeError, KeyError, ValueError, AttributeError):  # TypeError: also for what is no JSON
        raise ValueError(f"{path} is no file of measurements. Move it away: the bars of the days before are in it.") from None


def keep_tally(path: Path, tally: Tally) -> None:
    """Keep it, whole or not at all. Raises OSError."""
    _keep(path, {_FORM: {key: _written(one) for key, one in tally.items()}})


def _keep(path: Path, told: object) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(json.dumps(told, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _measure(before: Measured | None, probe: Probe, now: datetime) -> Measured:
    if before is None:
        return Measured(probe, now, now)
    days = dict(before.days)
    if timedelta() < now - before.at <= LONGEST_STEP and before.probe.state != "unmeasured":
        for day, seconds in _split(before.at, now):
            measured, late, down = days.get(day, (0.0, 0.0, 0.0))
            state = before.probe.state
            days[day] = (measured + seconds, late + seconds * (state == "late"), down + seconds * (state == "down"))
    since = before.since if before.probe.state == probe.state and now >= before.since else now
    first = now.date() - timedelta(days=DAYS)
    return Measured(probe, since, now, {day: each for day, each in days.items() if first < day <= now.date()})


def _split(begin: datetime, end: datetime) -> list[tuple[date, float]]:
    """The seconds of a step, by the UTC day they are in."""
    midnight = datetime.combine(end.date(), time(), UTC)
    if begin >= midnight:
        return [(end.date(), (end - begin).total_seconds())]
    return [(begin.date(), (midnight - begin).total_seconds()), (end.date(), (end - midnight).total_seconds())]


def _component(key: str, measured: Measured | None, now: datetime) -> Component:
    today = now.astimezone(UTC).date()
    kept = measured.days if measured else {}
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    bars = tuple(Day(day, *(round(seconds) for seconds in kept.get(day, (0, 0, 0)))) for day in days)
    if measured is None:
        return Component(key, "unmeasured", "Nobody has measured this yet.", "", None, None, bars)
    probe = measured.probe
    if now - measured.at > LONGEST_STEP:
        probe = Probe("unmeasured", "Nobody has measured this lately.", probe.by)
        return Component(key, probe.state, probe.says, probe.by, measured.at, measured.at, bars)
    return Component(key, probe.state, probe.says, probe.by, measured.since, measured.at, bars)


def _written(measured: Measured) -> dict[str, Any]:
    probe = measured.probe
    days = {day.isoformat(): [round(each, 1) for each in seconds] for day, seconds in measured.days.items()}
    told = {"state": probe.state, "says": probe.says, "by": probe.by}
    return told | {"since": measured.since.isoformat(), "at": measured.at.isoformat(), "days": days}


def _read(told: dict[str, Any]) -> Measured:
    if told["state"] not in _STATES or not all(isinstance(told[name], str) for name in ("says", "by")):
        raise ValueError
    probe = Probe(cast("ComponentState", told["state"]), told["says"], told["by"])
    days = {date.fromisoformat(day): _three(each) for day, each in told["days"].items()}
    return replace(Measured(probe, _utc(told["since"]), _utc(told["at"])), days=days)


def _three(told: list[float]) -> tuple[float, float, float]:
    measured, late, down = (float(each) for each in told)
    return measured, late, down


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError
    return at.astimezone(UTC)


Samples = tuple[tuple[datetime, int], ...]
"""How many scans had been made, all told, once an hour; oldest first."""


def sampled(samples: Samples, made: int, now: datetime) -> Samples:
    """With one more, if the newest is an hour old; none older than a day but one."""
    if samples and timedelta() <= now - samples[-1][0] < timedelta(hours=1):
        return samples
    kept = [each for each in samples if each[0] <= now]
    while len(kept) > 1 and kept[1][0] <= now - timedelta(days=1):
        kept.pop(0)
    return (*kept, (now, made))


def a_day_ago(samples: Samples, made: int) -> int:
    """How many had been made when the oldest of them was taken: a day ago, or when measuring began."""
    return min(samples[0][1], made) if samples else made


def read_samples(path: Path) -> Samples:
    """What was kept; () where nothing was, or what is none: it is a day's at most."""
    try:
        return tuple((_utc(at), int(made)) for at, made in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return ()


def keep_samples(path: Path, samples: Samples) -> None:
    """Keep them, whole or not at all. Raises OSError."""
    _keep(path, [[at.isoformat(), made] for at, made in samples])
