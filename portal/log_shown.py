"""Entries of the log as strangers see them, in words: for the public pages, and for the pages of those who run the installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from audit.kinds import KINDS, UNKNOWN
from audit.published import told_in

BY: Final[Mapping[str, str]] = {
    "person": "a person",
    "terminal": "the terminal",
    "worker": "a worker",
    "nobody": "somebody not signed in",
    "log": "the log itself",
}
HIDDEN: Final[Mapping[str, str]] = {
    "account": "Which account it was in, if in any.",
    "actor": "Who did it.",
    "at": "When, to the millisecond.",
    "email": "An address.",
    "names": "Names, or how many to the last one.",
    "reason": "The reason that was given, in the words of a person.",
    "user": "Which person it was about.",
}
"""What stands behind a commitment, as far as its field's name does not say it already."""
_SHORT: Final = 60
"""What is longer is shown on the entry's own page alone."""


@dataclass(frozen=True, slots=True)
class Coarse:
    """An entry in words. `at` (when it happened) and `logged` are to the minute, None where they could not be read.

    `said`: what else it shows, by field; `hidden`: fields that it only commits to, with the commitment; `readable` is False for bytes
    that no entry of a version we know consists of.
    """

    index: int
    says: str
    kind: str = ""
    by: str = ""
    at: datetime | None = None
    logged: datetime | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    hidden: Mapping[str, Any] = field(default_factory=dict)
    back_s: int = 0
    readable: bool = True

    @property
    def short(self) -> list[tuple[str, str]]:
        """What it shows and fits into a list."""
        return [(name, text) for name, text in self.long if len(text) <= _SHORT]

    @property
    def long(self) -> list[tuple[str, str]]:
        """All that it shows, in words."""
        return [(name.replace("_", " "), _word(value)) for name, value in sorted(self.said.items())]


def coarse(index: int, body: bytes) -> Coarse:
    """An entry in words. It never fails: what cannot be read is said to be so."""
    told = told_in(body)
    if told is None:
        return Coarse(index, "This entry cannot be read by this version.", readable=False)
    back_s = told.get("back_s", 0)
    return Coarse(
        index,
        KINDS.get(told["kind"], UNKNOWN).says,
        told["kind"],
        BY.get(told["by"], told["by"]),
        _minute(told["at"]),
        _minute(told["logged"]),
        told["said"],
        told["c"],
        back_s if isinstance(back_s, int) else 0,
    )


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value) if value != "" else "none"


def _minute(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    except ValueError:
        return None
