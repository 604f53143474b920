"""Watching a portal from another machine: what it says of itself, whether it can be reached at all, and a copy of its feed that stays true.

What is known of the portal's own is what it said last. That it cannot be reached, the watcher knows by itself, and says how.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from audit.reading import place_of
from core.net.provider import Tls, Unanswered, ask
from core.status.codec import decode
from core.status.files import ITSELF, files_of
from core.status.measuring import Measured, Probe, components, keep_tally, measure, read_tally
from core.status.mirror import Bound, MirrorError, mirror
from core.status.told import Component, Incident, Told, Update

FAILS: Final = 2
"""So many looks in a row without an answer, and it counts as not reached: since the first of them."""
APART: Final = timedelta(minutes=15)
"""Looks further apart than this are not in a row: nobody knows of the time between them."""
STALE: Final = timedelta(minutes=5)
MOST_FEED_BYTES: Final = 16 * 1024 * 1024
KEPT: Final = timedelta(days=90)
REASONS: Final = "access/reasons.json"
"""It is no page of the feed's, and is copied as it is."""
COPY_S: Final = 20.0
"""So long at most a look waits for the copy of the log."""
_READ_S: Final = 300.0
"""So long at most the log is read in one go, whatever the other side sends meanwhile."""
_COUNTED: Final = ("tally", "fails", "failing_since", "outages", "last")
_UNFIT: Final = (ValueError, ArithmeticError, LookupError, RecursionError)
"""What a value raises of which no pages can be made, though it is of the right types."""
_OWN: Final = re.compile(r"out[0-9]+")
"""References of outages that a watcher saw; the portal has none of these."""
_MOST_KEPT: Final = 50
_FORM: Final = "keychest-watch-1"
log = logging.getLogger("keychest.status")


class WatchError(Exception):
    """What the watcher kept cannot be read. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. `told`: the feed, None where there was none; `health`: what /healthz said of its parts; `trouble`: why not, in words."""

    told: Told | None = None
    health: dict[str, Any] | None = None
    trouble: str = ""


@dataclass
class Watcher:
    """A watcher called `name` (people read it), of the portal at `url`. `folder`: the published copy; `state`: what it keeps between looks.

    `fails` counts looks without an answer in a row, the first of them at `failing_since`; `last` is what the portal said last of which
    pages could be made; `files`: what the last turn made. `mirrored`: why the log's copy is not what it should be, "" where it is.
    """

    url: str
    folder: Path
    state: Path
    name: str
    tls: Tls
    every_s: float = 30.0
    last: Told | None = None
    tally: dict[str, Measured] = field(default_factory=dict)
    fails: int = 0
    failing_since: datetime | None = None
    outages: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    mirrored: str = ""
    reasons: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    _copying: threading.Thread | None = None

    def load(self) -> None:
        """What was kept. A feed that cannot be read is left where it is, with a warning: the portal sends another. Raises WatchError."""
        try:
            self.tally = read_tally(self._beside("tally"))
            kept = json.loads(self.state.read_bytes()) if self.state.exists() else {}
            self.outages = [(_utc(began), _utc(ended) if ended else None) for began, ended in kept.get(_FORM, [])]
            self.fails = int(kept.get("fails", 0))
            self.failing_since = _utc(since) if (since := kept.get("failing_since", "")) else None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise WatchError(f"What was kept at {self.state} cannot be read ({error}). Move it away to begin anew.") from None
        found = self._beside("feed")
        try:
            self.last = decode(found.read_bytes()) if found.exists() else None
        except _UNFIT as error:
            log.warning(
                "The feed that was kept at %s cannot be read: %s It is not used, and the portal's next one takes its place.", found, error
            )

    def turn(self, now: datetime, look: Callable[[], Seen] | None = None) -> Told:
        """Look once, say what is so now, and make the `files` of it. `look`: where not at the portal itself.

        Of what the portal sends, nothing ends this: where no pages can be made of it, that is told, and what it said before stays.
        """
        seen, before = (look or self.look)(), {name: getattr(self, name) for name in _COUNTED}
        try:
            return self._shown(seen, now)
        except _UNFIT as error:
            vars(self).update(before)
            seen = seen if seen.told is None else Seen(None, seen.health, _unread(error))
        try:
            return self._shown(seen, now)
        except _UNFIT as error:
            log.warning("No pages can be made of what the portal said last: %s It is not used any more.", error)
            vars(self).update(before | {"last": None})
            return self._shown(seen, now)

    def copy(self) -> bool:
        """Copy what is new of the log, and what opens the reasons; whether there is something else to tell of the log.

        It is waited for COPY_S: what takes longer goes on beside the next looks, and is not begun twice.
        """
        before = self.mirrored
        if self._copying is None or not self._copying.is_alive():
            self._copying = threading.Thread(target=self._copy, daemon=True, name="copy")
            self._copying.start()
        self._copying.join(COPY_S)
        return self.mirrored != before

    def _copy(self) -> None:
        trouble = ""
        try:
            with place_of(f"{self.url}/log", tls=self.tls, within_s=_READ_S) as place:
                mirror(place, self.folder / "log", Bound())
        except (MirrorError, *_UNFIT) as error:
            trouble = str(error) or "The log cannot be read."
        except OSError as error:
            log.warning("The copy of the log could not be written: %s. What was there stays, and the next look writes it.", error)
        self.mirrored = trouble
        self.reasons = self._reasons() or self.reasons

    def keep(self, raw: bytes | None = None) -> None:
        """Keep what is to be known after a restart. `raw`: the feed as it came. Raises OSError."""
        keep_tally(self._beside("tally"), self.tally)
        told = {
            _FORM: [[began.isoformat(), ended.isoformat() if ended else ""] for began, ended in self.outages[-_MOST_KEPT:]],
            "fails": self.fails,
            "failing_since": self.failing_since.isoformat() if self.failing_since else "",
        }
        _write(self.state, json.dumps(told).encode())
        if raw is not None:
            _write(self._beside("feed"), raw)

    def look(self) -> Seen:
        """Ask the portal for its feed, and how it is."""
        try:
            found = ask(f"{self.url}/{ITSELF}", tls=self.tls, most_bytes=MOST_FEED_BYTES)
        except Unanswered as error:
            return Seen(trouble=str(error))
        try:
            told = decode(found.body) if found.status == 200 else None  # noqa: PLR2004 - as HTTP has it
        except _UNFIT as error:
            return Seen(health=self._health(), trouble=_unread(error))
        return Seen(told, self._health(), "" if told else f"it answers {found.status} where its feed should be")

    def _health(self) -> dict[str, Any] | None:
        try:
            told = json.loads(ask(f"{self.url}/healthz", tls=self.tls).body)
        except (Unanswered, ValueError, RecursionError):
            return None
        return told if isinstance(told, dict) else None

    def _shown(self, seen: Seen, now: datetime) -> Told:
        """What is so, with the `files` of it. Raises one of _UNFIT where there can be none."""
        self._count(seen, now)
        self.tally = measure(self.tally, {"portal": self._portal(seen)}, now)
        self.last = seen.told or self.last
        told = self._told(seen, now)
        self.files = files_of(told)
        return told

    def _count(self, seen: Seen, now: datetime) -> None:
        reached = seen.told is not None or seen.health is not None
        if reached:
            if self.outages and self.outages[-1][1] is None:
                self.outages = [*self.outages[:-1], (self.outages[-1][0], now)]
            self.fails, self.failing_since = 0, None
            return
        before = self.tally.get("portal")
        if self._out_since is None and before is not None and now - before.at > APART:
            self.fails, self.failing_since = 0, None
        self.fails += 1
        self.failing_since = self.failing_since or now
        if self.fails >= FAILS and not (self.outages and self.outages[-1][1] is None):
            self.outages = [*self.outages, (self.failing_since, None)]

    @property
    def _out_since(self) -> datetime | None:
        return self.outages[-1][0] if self.outages and self.outages[-1][1] is None else None

    def _portal(self, seen: Seen) -> Probe:
        by = f"by {self.name}, from another machine"
        if seen.told is not None:
            return Probe("ok", "Pages are served.", by)
        if self._out_since is not None:
            return Probe("down", f"The portal cannot be reached: {seen.trouble}.", by)
        if seen.health is not None:
            return Probe("late", f"Pages are served, and something is wrong: {seen.trouble}.", by)
        return Probe("late", "One look had no answer. The next one decides.", by)

    def _reasons(self) -> bytes:
        """What opens the reasons; b"" where there is nothing that can be used."""
        try:
            answer = ask(f"{self.url}/{REASONS}", tls=self.tls, most_bytes=MOST_FEED_BYTES)
        except Unanswered:
            return b""
        return answer.body if answer.status == 200 else b""  # noqa: PLR2004 - as HTTP has it

    def _told(self, seen: Seen, now: datetime) -> Told:
        last = self.last or Told(now, self.url, "", "", ())
        out = self._out_since
        stale = out is None and now - last.made_at > STALE
        parts = tuple(self._part(each, last, seen, now, out=out, stale=stale) for each in components(self.tally, now))
        how = ""
        if out is not None:
            how = (
                f"{self.name}, on another machine, asks {self.url} every {round(self.every_s)} seconds and gets no answer: {seen.trouble}."
            )
        elif stale:
            how = f"The portal answers {self.name}; what measures its parts has said nothing since {last.made_at:%H:%M} UTC."
        incidents = (*self._own_incidents(now), *(each for each in last.incidents if not _OWN.fullmatch(each.ref)))
        return replace(last, made_at=now, address=self.url, components=parts, incidents=incidents, unreachable_since=out, how=how)

    def _part(self, mine: Component, last: Told, seen: Seen, now: datetime, *, out: datetime | None, stale: bool) -> Component:
        if mine.key == "portal":
            return mine
        theirs = next((each for each in last.components if each.key == mine.key), mine)
        if out is not None:
            return replace(theirs, state="unmeasured", says="Not known: the portal, which tells of it, cannot be reached.", since=out)
        if mine.key == "log" and self.mirrored:
            return replace(theirs, state="down", says=self.mirrored, by=f"by {self.name}, who keeps a copy", since=theirs.since or now)
        if (told := _by_health(seen.health, mine.key)) and theirs.state != "down":
            return replace(theirs, state="down", says=told, by="by the portal's own /healthz", since=last.made_at, measured_at=now)
        if stale and theirs.state != "unmeasured":
            return replace(theirs, state="unmeasured", says="Nobody has measured this lately.", since=last.made_at)
        return theirs

    def _own_incidents(self, now: datetime) -> tuple[Incident, ...]:
        recent = [self._incident(began, ended) for began, ended in reversed(self.outages) if now - (ended or now) <= KEPT]
        return tuple({each.ref: each for each in recent}.values())  # a clock that was set back may name a second twice

    def _incident(self, began: datetime, ended: datetime | None) -> Incident:
        first = Update(
            "investigating", f"{self.name} asks the portal from another machine and gets no answer since {began:%H:%M} UTC.", began
        )
        updates = (first,) if ended is None else (Update("resolved", f"The portal answers again since {ended:%H:%M} UTC.", ended), first)
        return Incident(
            f"out{began:%Y%m%d%H%M%S}", "The portal cannot be reached" if ended is None else "The portal could not be reached", "critical",
            updates[0].state, ("portal",), True, began, began, ended or began, ended, None, None, "", updates,
        )  # fmt: skip

    def _beside(self, what: str) -> Path:
        return self.state.with_name(f"{self.state.name}.{what}")


def _by_health(health: dict[str, Any] | None, key: str) -> str:
    """What the portal's own /healthz says against a part; "" for nothing."""
    if health is None:
        return ""
    if health.get("database") == "bad" and key == "database":
        return "The database does not answer the portal."
    if health.get("database") == "bad" and key in {"scanning", "notifications"}:
        return "Nothing is done: the database does not answer."
    if health.get("broker") == "bad" and key in {"scanning", "notifications"}:
        return "Nothing is handed to workers: the broker does not answer."
    return ""


def _unread(error: Exception) -> str:
    return f"its feed cannot be read: {str(error).rstrip('.')[:300]}"


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
