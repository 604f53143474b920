"""A copy of the published logs in another folder: a stranger finds there all that the verifier asks for, and nothing that is half there.

A log only grows, and nobody is believed: each file is compared with the root that a checkpoint promises before it is put, the checkpoint
with the one before it and with the log's key, which entry 0 names and rotations hand over. What does not hold changes nothing in the copy.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from audit.kinds import ROTATED
from audit.leaves import Shelf
from audit.note import Checkpoint, Note, NoteError, Verifier, checkpoint_signed_by
from audit.reading import Folder, Missing, Place, Unreadable
from audit.tiles import CHECKPOINT, CONTINUED, ENTRIES, WIDTH, Tile, TileError, TileHashes, read_bundle, read_hashes, tiles_of, top_of
from audit.told import Report, Told
from audit.tree import consistency_proof, consistent, leaf_hash, subtree

MOST_LOGS: Final = 1_000
MOST_ENTRIES: Final = 2**28
_STAYS: Final = "The copy stays as it was."
_TURNED: Final = ROTATED.encode()


class MirrorError(Exception):
    """The logs could not be copied whole; what was there before still is. The message is a sentence."""


class _Enough(Exception):  # noqa: N818 - it is no error
    """As much was taken as one look may take."""


@dataclass(slots=True)
class Bound:
    """What one look takes of a source: so many files and bytes, and none once it waited so long. The rest comes with the next looks."""

    files: int = 2_000
    bytes: int = 200 * 1024**2
    seconds: float = 10.0

    def spend(self, size: int, seconds: float) -> None:
        """One more file was taken."""
        self.files, self.bytes, self.seconds = self.files - 1, self.bytes - size, self.seconds - seconds

    @property
    def spent(self) -> bool:
        """Whether it was enough."""
        return self.files <= 0 or self.bytes <= 0 or self.seconds <= 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A copy's checkpoint, all of which this process has compared, and the log's keys until then."""

    checkpoint: Checkpoint
    keys: tuple[Verifier, ...]


_KNOWN: dict[Path, _Known] = {}
"""By the copy's folder: what was compared once is not read again with each look, and all of it is with a process's first look."""


def mirror(source: Place, into: Path, bound: Bound | None = None) -> int:
    """Copy what is new in every log; how many files. Tiles first, then the checkpoint that promises them. Raises MirrorError, OSError."""
    copied, said = 0, b""
    for number in range(1, MOST_LOGS + 1):
        log = _Log(source, "" if number == 1 else f"{number}/", into, bound)
        try:
            whole = log.copy()
            following = log.continued(number + 1) if whole else b""
        except (Missing, Unreadable, NoteError, TileError) as error:
            raise MirrorError(str(error)) from None
        if said and log.had is not None:  # it is told when there is something to go on to
            copied += _put(into / ("" if number == 2 else str(number - 1)) / CONTINUED, said)  # noqa: PLR2004 - the first has no folder of its own
        copied, said = copied + log.copied, following
        if not following:
            break
    return copied


@dataclass(slots=True)
class _Log:
    """One log: at its source, and in the copy. `had`: the copy's checkpoint; `late`: what is put just before a new one."""

    source: Place
    under: str
    into: Path
    bound: Bound | None
    had: Checkpoint | None = None
    copied: int = 0
    late: dict[Tile, bytes] = field(default_factory=dict)
    fetched: dict[Tile, bytes] = field(default_factory=dict)

    def copy(self) -> bool:
        """Whether all that is promised is there now. Raises MirrorError, and what cannot be read raises."""
        self.had = _had(self.folder / CHECKPOINT)
        try:
            raw = self.source.read(f"{self.under}{CHECKPOINT}")
        except Missing:
            if self.had is not None:
                raise MirrorError(f"The log shows no checkpoint any more, and showed {self.had.size} entries before. {_STAYS}") from None
            return True
        promised = _promised(raw)
        _require_growth(promised, self.had)
        known = _KNOWN.get(self.folder)
        known = known if known is not None and known.checkpoint == self.had else None
        if known is None or known.checkpoint != promised:
            try:
                known = self._grow(promised, known)
            except _Enough:
                return False
        checkpoint_signed_by(raw, promised.origin, known.keys[-1:])
        self._finish(raw, promised)
        _KNOWN[self.folder] = known
        return True

    def continued(self, number: int) -> bytes:
        """The file that says that log `number` goes on; b"" where there is none. Raises MirrorError, Unreadable."""
        try:
            said = self.source.read(f"{self.under}{CONTINUED}")
        except Missing:
            said = b""
        if said not in {b"", f"{number}\n".encode()} or (not said and (self.folder / CONTINUED).exists()):
            raise MirrorError(f"{self.under}{CONTINUED} does not say that log {number} goes on, as it should. {_STAYS}")
        return said

    @property
    def folder(self) -> Path:
        """Where its copy is."""
        return self.into / self.under

    def _grow(self, promised: Checkpoint, known: _Known | None) -> _Known:
        """All tiles of what is promised that were not compared yet; partial ones only wait to be put. Raises _Enough."""
        hashes = TileHashes(self._fetch_path, promised.size)
        if subtree(hashes, 0, promised.size) != promised.root:
            raise MirrorError(f"The log's {promised.size} entries have another root than its checkpoint says. {_STAYS}")
        if self.had is not None and self.had.size < promised.size:
            proof = consistency_proof(hashes, self.had.size, promised.size)
            if not consistent(self.had.size, promised.size, self.had.root, promised.root, proof):
                raise MirrorError(f"The log's first {self.had.size} entries are not those of the copy: it tells another history. {_STAYS}")
        begin = known.checkpoint.size if known else 0
        for tile in _downwards(promised.size, begin):
            self._take(tile, promised.size)
        told = Told(promised.origin, Report(), list(known.keys) if known else [])
        for at, body in self._of_keys(promised.size, begin):
            told.logged = ""  # the order of times is for the verifier, who reads all entries
            told.take(at, body)
        if told.report.faults or not told.keys:
            raise MirrorError(f"{told.report.faults[0] if told.report.faults else 'The log names no key.'} {_STAYS}")
        return _Known(promised, tuple(told.keys))

    def _take(self, tile: Tile, size: int) -> None:
        """The tile as it should be: in the copy already, or from the source. Raises MirrorError, _Enough."""
        right = self._right(tile, size)
        try:
            if _is(tile, Folder(self.folder).read(tile.path), right):
                return
        except (Missing, Unreadable):
            pass  # it is fetched, as one that was damaged
        if self.bound is not None and self.bound.spent and tile not in self.fetched:
            raise _Enough
        content = self._fetch(tile)
        if not _is(tile, content, right):
            raise MirrorError(f"The log's file {self.under}{tile.path} is not what its checkpoint promises. {_STAYS}")
        if tile.width == WIDTH:
            self.copied += _put(self.folder / tile.path, content)
            self.fetched.pop(tile, None)
        else:
            self.late[tile] = content

    def _right(self, tile: Tile, size: int) -> bytes:
        """By what a tile is known: its bytes at the tree's edge, of which the root is made; the hash above it; a bundle's hashes."""
        if tile.kind == ENTRIES:
            return self._sure(tile._replace(kind="0"))
        if tile.width < WIDTH:
            return self._fetch(tile)
        level, number, at = int(tile.kind) + 1, tile.number // WIDTH, tile.number % WIDTH
        above = Tile(str(level), number, min(WIDTH, (size >> (8 * level)) - number * WIDTH))
        return read_hashes(self._sure(above), above)[at]

    def _sure(self, tile: Tile) -> bytes:
        """A tile that was compared just now."""
        return self.fetched[tile] if tile in self.fetched and tile.width < WIDTH else Shelf(Folder(self.folder), "").plain(tile.path)

    def _of_keys(self, size: int, begin: int) -> Iterator[tuple[int, bytes]]:
        """The entries that say by which key the log is signed."""
        for tile in tiles_of(size, begin):
            if tile.kind != ENTRIES:
                return
            raw = self.late[tile] if tile in self.late else Folder(self.folder).read(tile.path)
            if tile.number == 0 or _TURNED in raw:
                for at, body in enumerate(read_bundle(raw, tile), tile.number * WIDTH):
                    if at >= begin and (at == 0 or _TURNED in body):
                        yield at, body

    def _finish(self, raw: bytes, promised: Checkpoint) -> None:
        for tile, content in self.late.items():
            self.copied += _put(self.folder / tile.path, content)
        self.copied += _put(self.folder / CHECKPOINT, raw)
        for tile in tiles_of(promised.size, self.had.size if self.had else 0):
            if tile.width == WIDTH:
                shutil.rmtree(self.folder / f"{tile.path}.p", ignore_errors=True)
        self.had = promised

    def _fetch_path(self, path: str) -> bytes:
        tile = Tile.read(path)
        if tile is None:
            raise Missing(path)
        return self._fetch(tile)

    def _fetch(self, tile: Tile) -> bytes:
        if tile not in self.fetched:
            began = time.monotonic()
            try:
                self.fetched[tile] = Shelf(self.source, self.under).tile(tile)
            except Missing:
                raise MirrorError(f"The log's file {self.under}{tile.path} is not there, though its checkpoint promises it.") from None
            if self.bound is not None:
                self.bound.spend(len(self.fetched[tile]), time.monotonic() - began)
        return self.fetched[tile]


def _downwards(size: int, begin: int) -> Iterator[Tile]:
    """What is new, from the top: each tile is known by the one above it, and a bundle by its hashes."""
    levels = [level for level in range(8) if size >> (8 * level)]
    for kind, level in (*((str(level), level) for level in reversed(levels)), (ENTRIES, 0)):
        first, end = begin >> (8 * level), size >> (8 * level)
        for number in range(first // WIDTH, -(-end // WIDTH) if end > first else 0):
            yield Tile(kind, number, min(WIDTH, end - number * WIDTH))


def _is(tile: Tile, content: bytes, right: bytes) -> bool:
    """Whether a tile or bundle is the right one, as `_Log._right` says it."""
    try:
        if tile.kind == ENTRIES:
            return b"".join(map(leaf_hash, read_bundle(content, tile))) == right
        return content == right if tile.width < WIDTH else top_of(read_hashes(content, tile)) == right
    except TileError:
        return False


def _promised(raw: bytes) -> Checkpoint:
    """A checkpoint as a log of ours signs it, and no other spelling. Raises NoteError."""
    note = Note.read(raw)
    found = Checkpoint.read(note.text)
    if found.text != note.text or note.raw != raw or not 0 < found.size <= MOST_ENTRIES:
        raise NoteError("The log's checkpoint says more than origin, size and root, says it another way, or is of an absurd size.")
    return found


def _require_growth(promised: Checkpoint, had: Checkpoint | None) -> None:
    if had is None:
        return
    if promised.origin != had.origin:
        raise MirrorError(f"The log is {promised.origin!r}, and the copy is of {had.origin!r}. {_STAYS}")
    if promised.size < had.size:
        raise MirrorError(f"The log shows {promised.size} entries, and showed {had.size} before: that is no growth. {_STAYS}")
    if promised.size == had.size and promised.root != had.root:
        raise MirrorError(f"The log shows other {had.size} entries than before: it tells another history. {_STAYS}")


def _had(path: Path) -> Checkpoint | None:
    try:
        return Checkpoint.read(Note.read(path.read_bytes()).text)
    except (FileNotFoundError, NoteError):
        return None


def _put(path: Path, content: bytes) -> int:
    """Write a file, whole or not at all; 0 where it is so already."""
    try:
        if path.read_bytes() == content:
            return 0
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(0o644)
    fresh.replace(path)
    return 1
