"""How things are, in a sentence: what the page begins with, what the API's `status` says, and what the badge shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.status.told import COMPONENTS, Component, Incident, Told

_RANK: Final = ("none", "minor", "major", "critical")
_HEART: Final = frozenset({"portal", "database"})
"""Without these nothing is left to look at."""
_ONE: Final = frozenset({"database", "log"})
"""Components whose name is one thing: "is", where others "are"."""
ENDED: Final = frozenset({"resolved", "completed"})
UNDER_WAY: Final = frozenset({"in_progress", "verifying"})
BADGE: Final = {"none": "works", "minor": "in part", "major": "partly down", "critical": "down", "maintenance": "planned work"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`indicator` as the API has it; `state` is a colour and a shape of the pages; `badge` at most three words."""

    indicator: str
    state: str
    title: str
    badge: str


def verdict(told: Told) -> Verdict:
    """What is wrong now, the worst of it first; that all works where nothing is wrong; and never that what nobody measured works."""
    if told.unreachable_since:
        return Verdict("critical", "bad", "The portal cannot be reached", "not reached")
    wrong, open_now = wrong_parts(told), open_incidents(told)
    unmeasured = [each for each in told.components if each.state == "unmeasured"]
    level = _level(wrong, open_now)
    if level or wrong or open_now:
        indicator = _RANK[level]
        return Verdict(indicator, "bad" if level > 1 else "soon", _title(wrong, open_now), BADGE[indicator] if level else "open incident")
    if unmeasured:
        if len(unmeasured) == len(told.components):
            return Verdict("minor", "unk", "Nothing is measured yet", "not measured")
        return Verdict("minor", "unk", "All that is measured works", "not all measured")
    if work_under_way(told):
        return Verdict("maintenance", "info", "All works while planned work goes on", BADGE["maintenance"])
    return Verdict("none", "ok", "All works", BADGE["none"])


def name_of(key: str) -> str:
    """A component's name as people read it."""
    return COMPONENTS.get(key, key)


def wrong_parts(told: Told) -> list[Component]:
    """What is down, then what is late."""
    return [each for state in ("down", "late") for each in told.components if each.state == state]


def open_incidents(told: Told) -> list[Incident]:
    """Disturbances that are not over, worst first."""
    found = [each for each in told.incidents if each.planned_from is None and not over(each)]
    return sorted(found, key=lambda each: -_rank(each.impact))


def work_under_way(told: Told) -> list[Incident]:
    """Planned work that goes on now."""
    return [each for each in told.incidents if each.planned_from is not None and not over(each) and each.state in UNDER_WAY]


def work_ahead(told: Told) -> list[Incident]:
    """Planned work that has not begun, the next first."""
    found = [each for each in told.incidents if each.planned_from is not None and not over(each) and each.state not in UNDER_WAY]
    return sorted(found, key=lambda each: (each.planned_from or each.opened_at, each.ref))


def over(incident: Incident) -> bool:
    """Whether it has ended."""
    return incident.ended_at is not None or incident.state in ENDED


def _level(wrong: Sequence[Component], open_now: Sequence[Incident]) -> int:
    parts = [1 if each.state == "late" else 3 if each.key in _HEART else 2 for each in wrong]
    return max([*parts, *(_rank(each.impact) for each in open_now)], default=0)


def _rank(impact: str) -> int:
    return _RANK.index(impact) if impact in _RANK else 1


def _title(wrong: Sequence[Component], open_now: Sequence[Incident]) -> str:
    if not wrong:
        return open_now[0].title if len(open_now) == 1 else f"{len(open_now)} incidents are open"
    said = [_said([each.key for each in wrong if each.state == state], state) for state in ("down", "late")]
    return ", ".join(filter(None, said))


def _said(keys: Sequence[str], word: str) -> str:
    """Checks and Notifications are late; "" where none is."""
    if not keys:
        return ""
    names = [name_of(key) for key in keys]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"{listed} {'is' if len(keys) == 1 and keys[0] in _ONE else 'are'} {word}"
