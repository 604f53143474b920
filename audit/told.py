"""What the entries of a log tell of themselves, and must: where it begins, whose key signs, that time does not go back unsaid.

Entries are taken in their order. What does not hold goes into `Report.wrong`; what is odd and may well be honest, into its notes.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from audit.entry import read_entry
from audit.kinds import KINDS, ROTATED, ROTATION, STARTED
from audit.note import ED25519, NoteError, Verifier, read_base64

LATE: Final = timedelta(minutes=15)
EARLY: Final = timedelta(minutes=2)
_MOST_SAID: Final = 20
_FIELDS: Final = frozenset({"v", "kind", "at", "logged", "by", "said", "c", "back_s"})
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z")
_COMMITMENTS: Final = re.compile(r"[0-9a-f]*")
_HEX: Final = 64
_SAID: Final = frozenset({str, int, bool})


@dataclass(slots=True)
class Report:
    """What was found. `faults` are sentences, of which the first ones are enough; `unreadable` is why something could not be looked at."""

    faults: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: str = ""

    def wrong(self, sentence: str) -> None:
        """Something does not hold."""
        if len(self.faults) < _MOST_SAID:
            self.faults.append(sentence)
        elif len(self.faults) == _MOST_SAID:
            self.faults.append("There is more that does not hold. The first of it is enough.")


@dataclass(slots=True)
class Told:
    """Entry by entry, of one log. `keys` are those that signed it one after the other: the last one signs now."""

    origin: str
    report: Report
    keys: list[Verifier] = field(default_factory=list)
    first: dict[str, Any] = field(default_factory=dict)
    """What entry 0 said."""
    count: int = 0
    logged: str = ""
    backs: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    latest: timedelta = timedelta()

    def take(self, index: int, body: bytes) -> None:
        """The next entry."""
        self.count += 1
        try:
            told = entry_of(body)
        except (ValueError, RecursionError) as error:
            self.report.wrong(f"Entry {index:,} of {self.origin} is no entry: {error}.")
            return
        kind = told["kind"]
        self._times(index, told)
        if index == 0 or kind == STARTED:
            self._started(index, told)
        elif kind == ROTATED:
            self._rotated(index, told["said"])
        if kind not in KINDS:
            self.unknown.append(index)

    def finish(self) -> None:
        """What is odd, in notes."""
        note = self.report.notes.append
        if self.backs:
            note(f"The clock was set back {_often(self.backs)}, and the log says so. Order is that of the entries, not that of times.")
        if self.late:
            note(
                f"{_those(self.late)} logged more than {LATE.seconds // 60} minutes after what happened, {_span(self.latest)} at most: "
                "the log waited, or somebody gave an earlier time."
            )
        if self.early:
            note(f"{_those(self.early)} dated later than when it was logged: two clocks did not agree.")
        if self.unknown:
            note(f"{_those(self.unknown)} of a kind that this version has no words for. All the rest was checked as of any other.")

    def _times(self, index: int, told: dict[str, Any]) -> None:
        logged, happened, back_s = told["logged"], told["at"], told.get("back_s", 0)
        if logged < self.logged and not back_s:
            self.report.wrong(f"Entry {index:,} was logged at {logged}, and the one before it at {self.logged}: it does not say why.")
        self.logged = logged
        if back_s:
            self.backs.append(index)
        if happened != logged:
            after = _moment(logged) - _moment(happened)
            if after > LATE:
                self.late.append(index)
                self.latest = max(self.latest, after)
            elif -after > EARLY:
                self.early.append(index)

    def _started(self, index: int, told: dict[str, Any]) -> None:
        if index or told["kind"] != STARTED:
            self.report.wrong(f"Entry {index:,} is {told['kind']}: a log begins with {STARTED}, and there alone.")
            return
        said = self.first = told["said"]
        if said.get("origin") != self.origin:
            self.report.wrong(f"Entry 0 says that the log is {said.get('origin')!r}, and the checkpoint is of {self.origin!r}.")
        try:
            self.keys = [_log_key(said.get("vkey"), self.origin)]
        except NoteError as error:
            self.report.wrong(f"Entry 0 names no key: {error}")

    def _rotated(self, index: int, said: dict[str, Any]) -> None:
        if not self.keys:
            return
        try:
            self.keys.append(_handed(said, self.keys[-1], self.origin))
        except NoteError as error:
            self.report.wrong(f"Entry {index:,} says that the log has a new key, and does not prove it: {error}")


def _handed(said: dict[str, Any], old: Verifier, origin: str) -> Verifier:
    """The key that takes over, by signatures of both. Raises NoteError."""
    new = _log_key(said.get("new"), origin)
    if said.get("origin") != origin or said.get("old") != old.vkey:
        raise NoteError("it takes over from another key than the one that signed until then.")
    text = ROTATION.format(origin, old.vkey, new.vkey)
    for key, by in ((old, "by_old"), (new, "by_new")):
        if not key.holds(text, read_base64(str(said.get(by)))):
            raise NoteError(f"{by} is no signature of {key.vkey}.")
    return new


def _log_key(vkey: object, origin: str) -> Verifier:
    found = Verifier.read(str(vkey))
    if found.kind != ED25519 or found.name != origin or found.vkey != vkey:
        raise NoteError(f"{vkey!r} is no key of {origin}.")
    return found


def entry_of(body: bytes) -> dict[str, Any]:
    """What an entry says; stricter than `read_entry`, which knows nothing of times. Raises ValueError with a sentence, RecursionError."""
    told = read_entry(body)
    if told["v"] is True or not told.keys() <= _FIELDS:
        raise ValueError(f"it has fields of its own: {', '.join(sorted(told.keys() - _FIELDS)) or 'v'}")
    _moment(told["at"])
    _moment(told["logged"])
    if not set(map(type, told["said"].values())) <= _SAID:
        raise ValueError("it says what is neither text nor a whole number")
    kept = told["c"].values()
    if set(map(type, kept)) - {str} or set(map(len, kept)) - {_HEX} or not _COMMITMENTS.fullmatch("".join(kept)):
        raise ValueError("a commitment is none")
    back_s = told.get("back_s", 1)
    if type(back_s) is not int or back_s < 1:
        raise ValueError(f"its clock was set back by {back_s!r}, which is no number of seconds")
    return told


@functools.lru_cache(maxsize=4_096)
def _moment(time: str) -> datetime:
    if not _TIME.fullmatch(time):
        raise ValueError(f"{time[:40]!r} is no time to the minute")
    return datetime.fromisoformat(time)


def _often(indexes: list[int]) -> str:
    return f"once, at entry {indexes[0]:,}" if len(indexes) == 1 else f"{len(indexes):,} times, first at entry {indexes[0]:,}"


def _those(indexes: list[int]) -> str:
    return f"Entry {indexes[0]:,} is" if len(indexes) == 1 else f"{len(indexes):,} entries, the first of them {indexes[0]:,}, are"


def _span(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes // 1440} days" if minutes >= 2 * 1440 else f"{minutes // 60} h {minutes % 60} min"
