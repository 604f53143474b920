"""What pages show of accesses and incidents, worked out: how long, whether a reason is missing, where the log has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.status.told import NO_REASON_AFTER_S, Incident, SeenAccess, Told
from core.status.verdict import name_of, over

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
WAYS: Final = {"ssh": "Shell", "sftp": "Files by SFTP", "database": "Database", "portal": "The portal’s operator pages"}  # noqa: RUF001 - an apostrophe
SAID: Final = {
    "investigating": ("bad", "Seen"),
    "identified": ("soon", "Found"),
    "monitoring": ("live", "Watching"),
    "resolved": ("ok", "Over"),
    "scheduled": ("info", "Planned"),
    "in_progress": ("live", "Under way"),
    "verifying": ("live", "Looking whether it holds"),
    "completed": ("ok", "Done"),
}
"""What an incident's states are called, with colour and shape."""
_COLOURS: Final = {"none": "info", "minor": "soon", "major": "bad", "critical": "bad"}
Proof = tuple[str, int, str]
"""Where an entry of the log is read, its index, and the command that proves it."""


@dataclass(frozen=True, slots=True)
class SeenRow:
    """An access. `reason`: "given", "waiting" (it may come until `reason_until`) or "none"; `length` in words, "" while it is open."""

    access: SeenAccess
    way: str
    open: bool
    reason: str
    reason_until: datetime
    length: str
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class SeenIncident:
    """An incident. `open`: a disturbance that is not over; `parts`: its components' names; `account`: the post-mortem's paragraphs."""

    incident: Incident
    over: bool
    open: bool
    colour: str
    word: str
    parts: str
    length: str
    account: tuple[str, ...]


def seen_access(access: SeenAccess, told: Told) -> SeenRow:
    """One access, as it was when the feed was made."""
    until = access.started_at + timedelta(seconds=NO_REASON_AFTER_S)
    reason = "given" if access.reason.strip() else "none" if told.made_at >= until else "waiting"
    length = lasted(int((access.ended_at - access.started_at).total_seconds())) if access.ended_at else ""
    way = WAYS.get(access.kind, "Another way")
    return SeenRow(access, way, not access.ending, reason, until, length, proofs(access.entries, told))


def seen_incident(incident: Incident) -> SeenIncident:
    """One incident or planned work."""
    ended, planned = over(incident), incident.planned_from is not None
    said = SAID.get(incident.state, ("info", incident.state))
    open_colour = said[0] if planned else _COLOURS.get(incident.impact, "soon")
    closed = ("Over, written up" if incident.account else "Over") if not planned else "Done"
    word = closed if ended else said[1] if planned else f"Open: {said[1].lower()}"
    length = lasted(int((incident.ended_at - incident.opened_at).total_seconds())) if incident.ended_at and not planned else ""
    parts = ", ".join(name_of(key) for key in incident.components)
    account = tuple(filter(None, (each.strip() for each in incident.account.replace("\r\n", "\n").split("\n\n"))))
    return SeenIncident(incident, ended, not ended and not planned, "ok" if ended else open_colour, word, parts, length, account)


def proofs(entries: Sequence[tuple[int, int]], told: Told) -> tuple[Proof, ...]:
    """Where the log tells of it, and how anybody proves that."""
    several = told.log is not None and told.log.number > 1
    return tuple(
        (
            f"{told.address}/log/entries/{number}/{index}",
            index,
            f"python -m audit verify {told.address}/log{f' --log {number}' if several or number > 1 else ''} --entry {index}",
        )
        for number, index in entries
    )


def lasted(seconds: int) -> str:
    """40 s, 48 min, 2 h 5 min, 3 days: the number and its unit do not part."""
    if seconds < _MINUTE:
        return f"{max(0, seconds)}\u00a0s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}\u00a0min"
    if seconds < 2 * _DAY:
        minutes = seconds % _HOUR // _MINUTE
        return f"{seconds // _HOUR}\u00a0h" + (f" {minutes}\u00a0min" if minutes else "")
    return f"{seconds // _DAY}\u00a0days"
