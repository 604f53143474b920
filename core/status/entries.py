"""Where the published log tells of accesses and drills: its own files are read, and nothing else, so that what is linked can be proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from audit.entry import read_entry
from audit.note import COSIGNATURE, Checkpoint, Note, Verifier, time_of
from audit.tiles import CHECKPOINT, CONTINUED, ENTRIES, WIDTH, Tile, read_bundle
from core.status.told import SeenLog, SeenWitness

Entry = tuple[int, int]
"""A log's number, and an entry's index in it."""
_MOST_LOGS: Final = 1_000


@dataclass
class Index:
    """What was read so far of the logs that are published in `folder`. `read_on` reads what came since; the rest is in memory.

    `witnesses`: the keys of those who are asked to cosign.

    `accesses`: the entries that tell of an access, by its reference; `drills`: of a drill, by its reference.
    """

    folder: Path
    witnesses: tuple[Verifier, ...] = ()
    accesses: dict[str, list[Entry]] = field(default_factory=dict)
    drills: dict[str, list[Entry]] = field(default_factory=dict)
    logged_at: datetime | None = None
    _done: dict[int, int] = field(default_factory=dict)

    def read_on(self) -> SeenLog | None:
        """The newest log's head as it is published; None where none is. Raises OSError, ValueError for what is damaged."""
        head, number = None, 1
        while number <= _MOST_LOGS:
            place = self.folder if number == 1 else self.folder / str(number)
            try:
                note = Note.read((place / CHECKPOINT).read_bytes())
            except FileNotFoundError:
                note = None
            if note is not None:
                checkpoint = Checkpoint.read(note.text)
                self._read(number, place, checkpoint.size)
                witnesses = tuple(SeenWitness(key.name, _at(key, note)) for key in self.witnesses)
                head = SeenLog(number, checkpoint.origin, checkpoint.size, checkpoint.root.hex(), self.logged_at, witnesses)
            following = _following(place)
            if following != number + 1:
                break
            number = following
        return head

    def _read(self, number: int, place: Path, size: int) -> None:
        done = self._done.get(number, 0)
        if size < done:
            self._forget(number)
            done = 0
        for tile_number in range(done // WIDTH, -(-size // WIDTH)):
            tile = Tile(ENTRIES, tile_number, min(WIDTH, size - tile_number * WIDTH))
            for index, body in enumerate(read_bundle((place / tile.path).read_bytes(), tile), tile_number * WIDTH):
                if index >= done:
                    self._take((number, index), read_entry(body))
        self._done[number] = size

    def _take(self, entry: Entry, told: dict[str, Any]) -> None:
        said = told["said"]
        for name, kept in (("access", self.accesses), ("drill", self.drills)):
            if isinstance(said.get(name), str):
                kept.setdefault(said[name], []).append(entry)
        self.logged_at = datetime.strptime(told["logged"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)

    def _forget(self, number: int) -> None:
        for kept in (self.accesses, self.drills):
            for entries in kept.values():
                entries[:] = [each for each in entries if each[0] != number]


def _at(key: Verifier, note: Note) -> datetime | None:
    for each in note.signatures:
        if (each.name, each.key_id) == (key.name, key.id) and key.kind == COSIGNATURE and key.holds(note.text, each.bytes):
            return datetime.fromtimestamp(time_of(each.bytes), UTC)
    return None


def _following(place: Path) -> int:
    try:
        said = (place / CONTINUED).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 0  # noqa: PLR2004 - no number of a log is longer
