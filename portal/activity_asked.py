"""Which of an account's activity somebody asks for: read from an address or a form, and written back into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from audit.asked import Place, Wanted
from audit.kinds import KINDS
from portal.activity import GROUPED, GROUPS, People, kinds_with_text

LONGEST_TEXT: Final = 200
OTHER: Final = "other"
SELF: Final = ("worker", "terminal")
_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, as it was typed; what was no choice of ours is "". `after`: the place that a page goes on from."""

    group: str = ""
    who: str = ""
    text: str = ""
    since: str = ""
    until: str = ""
    after: Place | None = None

    @property
    def any(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.group or self.who or self.text or self.since or self.until)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """As a form posts it."""
        named = (("group", self.group), ("who", self.who), ("q", self.text), ("since", self.since), ("until", self.until))
        return [(name, value) for name, value in named if value]

    def address(self, after: Place | None) -> str:
        """Where the list goes on."""
        onward = [("after", f"{after[0]}.{after[1]}")] if after is not None else []
        return f"/activity?{urlencode([*self.fields, *onward])}"

    def wanted(self, people: People, zone: str) -> Wanted:
        """As the log is asked. Days are those of the zone."""
        kinds = frozenset(KINDS) - GROUPED if self.group == OTHER else GROUPS[self.group][1] if self.group else None
        return Wanted(
            kinds=kinds,
            actors=None if not self.who else {self.who if self.who in SELF else f"user:{self.who}"},
            since=_midnight(self.since, zone),
            until=_midnight(self.until, zone, days=1),
            text=self.text,
            kinds_with_text=kinds_with_text(self.text) if self.text else (),
            people_with_text=people.with_text(self.text) if self.text else (),
        )


def read(typed: Mapping[str, str], people: People) -> Asked:
    """A filter from what was typed. A person who does not belong to the account's activity is no choice."""
    known = {each.ref for each in (*people.there, *people.left)} | set(SELF)
    group, who = typed.get("group", ""), typed.get("who", "")
    since, until = (typed.get(name, "") if _day(typed.get(name, "")) else "" for name in ("since", "until"))
    return Asked(
        group=group if group in GROUPS or group == OTHER else "",
        who=who if who in known else "",
        text=typed.get("q", "").strip()[:LONGEST_TEXT],
        since=since,
        until=until,
        after=place(typed.get("after", "")),
    )


def without_place(asked: Asked) -> Asked:
    """The same filter from its first page."""
    return replace(asked, after=None)


def place(text: str) -> Place | None:
    """The place that a list goes on from, as it stands in an address; None for what is none."""
    log, dot, index = text.partition(".")
    plain = all(each.isascii() and each.isdecimal() and len(each) <= _MOST_DIGITS for each in (log, index))
    return (int(log), int(index)) if dot and plain else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _midnight(text: str, zone: str, days: int = 0) -> datetime | None:
    day = _day(text)
    if day is None or not date.min + timedelta(days=2) < day < date.max - timedelta(days=2):
        return None
    return datetime.combine(day + timedelta(days=days), time(), ZoneInfo(zone) if zone else UTC)
