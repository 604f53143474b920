"""The logs as everybody can read them: from their published files alone, at a cost that does not grow with a log's size.

Nothing here asks the database: what these pages say is what a stranger with a copy of the folder would find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from audit.entry import read_entry
from audit.kinds import ROTATED, STARTED
from audit.note import COSIGNATURE, Checkpoint, Note, NoteError, Signature, Verifier, time_of
from audit.tiles import CHECKPOINT, CONTINUED, ENTRIES, WIDTH, Tile, TileError, TileHashes, beginning, entry_at, read_bundle
from audit.tree import leaf_hash, node_hash, subtree

MOST_LOGS: Final = 1_000
_COSIGNATURE_BYTES: Final = 72
Bounds = tuple[int, int]
"""The entries that a node of the tree stands for: from the first to before the second."""


class UnreadableError(Exception):
    """A published file is missing or damaged. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof, upwards: the hash beside ours, on which side it stands, and the hash that both make."""

    beside: bytes
    left: bool
    beside_of: Bounds
    made: bytes
    made_of: Bounds


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness and what it did. `at`: when, by its own clock.

    `state` is "signed", "missing" (not this one), "false" (a signature that is not by its key), or "other" (one that is not asked here,
    and whose key nobody knows).
    """

    name: str
    state: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """One log of which a checkpoint is published."""

    folder: Path
    number: int
    note: Note
    checkpoint: Checkpoint

    def fetch(self, path: str) -> bytes:
        """The content of a tile; of a partial one that is gone since the full one is there, the beginning of that. Raises OSError."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            tile = Tile.read(path)
            if tile is None or tile.width == WIDTH:
                raise
            return beginning((self.folder / tile._replace(width=WIDTH).path).read_bytes(), tile)

    def hashes(self) -> TileHashes:
        """The tree's hashes."""
        return TileHashes(self.fetch, self.checkpoint.size)

    def body(self, index: int) -> bytes:
        """An entry's bytes. Raises IndexError for one that there is not, UnreadableError."""
        if not 0 <= index < self.checkpoint.size:
            raise IndexError(index)
        try:
            return entry_at(self.fetch, index, self.checkpoint.size)
        except (OSError, TileError) as error:
            raise UnreadableError(_what(error)) from None

    def before(self, index: int, most: int) -> list[tuple[int, bytes]]:
        """At most so many entries before an index, newest first. Raises UnreadableError."""
        end = min(index, self.checkpoint.size)
        first = max(0, end - most)
        found: list[tuple[int, bytes]] = []
        try:
            for number in range(first // WIDTH, -(-end // WIDTH)):
                tile = Tile(ENTRIES, number, min(WIDTH, self.checkpoint.size - number * WIDTH))
                found += enumerate(read_bundle(self.fetch(tile.path), tile), number * WIDTH)
        except (OSError, TileError) as error:
            raise UnreadableError(_what(error)) from None
        return [each for each in reversed(found) if first <= each[0] < end]

    def path(self, body: bytes, index: int) -> list[Step]:
        """From an entry up to the root: the last step's `made` is the root, if the entry is in the tree. Raises UnreadableError."""
        hashes, ways = self.hashes(), list(_ways(index, self.checkpoint.size))
        mine, own = leaf_hash(body), (index, index + 1)
        steps = []
        try:
            for beside_of in reversed(ways):
                beside, left = subtree(hashes, *beside_of), beside_of[0] < own[0]
                mine = node_hash(beside, mine) if left else node_hash(mine, beside)
                own = (min(own[0], beside_of[0]), max(own[1], beside_of[1]))
                steps.append(Step(beside, left, beside_of, mine, own))
        except (OSError, TileError) as error:
            raise UnreadableError(_what(error)) from None
        return steps

    def key(self) -> Verifier | None:
        """The key that signed the checkpoint, as entry 0 or one of the newest entries names it; None where it was changed in between."""
        newest = [body for _, body in self.before(self.checkpoint.size, WIDTH) if ROTATED.encode() in body]
        for vkey in filter(None, map(_vkey_in, [*newest, self.body(0)])):
            try:
                key = Verifier.read(vkey)
                if self.note.signed_by([key]):
                    return key
            except NoteError:
                continue
        return None

    def cosigned(self, asked: tuple[tuple[str, str], ...]) -> list[Cosigned]:
        """The witnesses that are asked, and what became of it; then any other that signed."""
        known = [Verifier.read(vkey) for vkey, _ in asked]
        theirs = [each for each in self.note.signatures if each.name != self.checkpoint.origin and len(each.bytes) == _COSIGNATURE_BYTES]
        found = [_signed(key, theirs, self.note.text) for key in known]
        names = {(key.name, key.id) for key in known}
        return found + [Cosigned(each.name, "other", _instant(each)) for each in theirs if (each.name, each.key_id) not in names]


def published_logs(folder: Path) -> list[PublishedLog]:
    """Every log that goes on from the one before it, the first first; [] where none is published. Raises UnreadableError."""
    found, number = [], 1
    while number <= MOST_LOGS:
        place = folder_of(folder, number)
        try:
            note = Note.read((place / CHECKPOINT).read_bytes())
            found.append(PublishedLog(place, number, note, Checkpoint.read(note.text)))
        except FileNotFoundError:
            pass  # nothing of it is published yet
        except (OSError, NoteError) as error:
            raise UnreadableError(_what(error)) from None
        following = _following(place)
        if following != number + 1:
            break
        number = following
    return found


def folder_of(folder: Path, number: int) -> Path:
    """Where the files of one log are."""
    return folder if number == 1 else folder / str(number)


def told_in(body: bytes) -> dict[str, Any] | None:
    """What an entry says; None for bytes that no entry consists of."""
    try:
        return read_entry(body)
    except ValueError:
        return None


def _following(place: Path) -> int:
    try:
        said = (place / CONTINUED).read_text()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(said) if len(said) <= 20 and said.strip().isdecimal() else 0  # noqa: PLR2004 - no number of a log is longer


def _ways(index: int, size: int) -> Iterator[Bounds]:
    """The subtrees beside the path from the root down to a leaf."""
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        if index < middle:
            yield middle, end
            end = middle
        else:
            yield begin, middle
            begin = middle


def _vkey_in(body: bytes) -> str:
    """The key that an entry says the log has from now on; "" for one that says nothing of keys."""
    told = told_in(body) or {}
    field = {STARTED: "vkey", ROTATED: "new"}.get(told.get("kind", ""))
    said = told["said"].get(field) if field else None
    return said if isinstance(said, str) else ""


def _signed(key: Verifier, theirs: list[Signature], text: str) -> Cosigned:
    mine = next((each for each in theirs if (each.name, each.key_id) == (key.name, key.id)), None)
    if mine is None or key.kind != COSIGNATURE:
        return Cosigned(key.name, "missing")
    return Cosigned(key.name, "signed" if key.holds(text, mine.bytes) else "false", _instant(mine))


def _instant(cosignature: Signature) -> datetime | None:
    try:
        return datetime.fromtimestamp(time_of(cosignature.bytes), UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a year that no calendar has


def _what(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(str(error.filename or 'A file')).name} cannot be read: {error.strerror or 'it is not there'}."
    return str(error)
