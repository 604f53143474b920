"""Every leaf of a log, hashed, and every file of it compared with what follows from the leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from audit.reading import Lying, Missing, Place
from audit.tiles import ENTRIES, WIDTH, Tile, TileError, beginning, bundle, read_bundle, tiles_of, top_of
from audit.told import Report
from audit.tree import HASH_BYTES, extended, root_of

_BITS: Final = 8
_LEAF: Final = hashlib.sha256(b"\x00")


@dataclass(slots=True)
class Shelf:
    """The files of one log. `prefix` is its sub-folder, with the slash, or "". `taken` are the paths that were read and account for."""

    place: Place
    prefix: str
    taken: set[str] = field(default_factory=set)

    def plain(self, path: str) -> bytes:
        """A file. Raises Missing, Unreadable."""
        found = self.place.read(self.prefix + path)
        self.taken.add(path)
        return found

    def tile(self, tile: Tile) -> bytes:
        """A tile or bundle; where a partial one is gone since the full one is there, that one's beginning. Raises TileError too."""
        try:
            return self.plain(tile.path)
        except Missing:
            if tile.width == WIDTH:
                raise
        try:
            return beginning(self.plain(tile._replace(width=WIDTH).path), tile)
        except Missing:
            raise Missing(tile.path) from None

    def by_path(self, path: str) -> bytes:
        """As `tile`, for who knows paths alone."""
        tile = Tile.read(path)
        return self.tile(tile) if tile else self.plain(path)


@dataclass(slots=True)
class Leaves:
    """Hashes of a log as far as it was read: `size` leaves. `roots` are those of the sizes that were wanted and reached."""

    shelf: Shelf
    report: Report
    wanted: frozenset[int]
    size: int = 0
    tiles: int = 0
    hold: bool = True
    """Whether each bundle was that of its hashes until now."""
    roots: dict[int, bytes] = field(default_factory=dict)
    _rows: list[list[bytes]] = field(default_factory=lambda: [[]])
    _frontier: list[bytes] = field(default_factory=list)
    _rest: list[bytes] = field(default_factory=list)

    def read(self, size: int, take: Callable[[int, bytes], None]) -> bool:
        """All that is promised: every bundle, and every tile; entries are handed on while their hashes hold. Whether all was there."""
        for tile in tiles_of(size):
            if tile.kind == ENTRIES:
                if not self._bundle(tile, take):
                    return False
            elif tile.kind != "0":
                self._compare(tile)
        return True

    def beyond(self, size: int) -> None:
        """Entries that no checkpoint promises, as far as they are there, up to this size: bundles alone."""
        for tile in tiles_of(size, self.size):
            if tile.kind != ENTRIES:
                return
            try:
                hashes = _hashed(read_bundle(self.shelf.tile(tile), tile))
            except Missing:
                return
            except TileError as error:
                self.report.wrong(f"{self.shelf.prefix}{error}")
                return
            if hashes[: len(self._rest)] != self._rest:
                self.report.wrong(f"{self._named(tile)} does not begin with the entries that were promised.")
                return
            self._add(tile, hashes)

    def account(self, lying: Iterable[Lying]) -> None:
        """Everything else in the folder: narrower tiles that are the beginning of wider ones, and nothing more."""
        for each in lying:
            tile = Tile.read(each.path)
            if each.what == "folder":
                known = each.path == "tile" or any(Tile.read(f"{each.path}/{name}") for name in ("000", "1"))
                if not known:
                    self.report.wrong(f"{self.shelf.prefix}{each.path} is a folder that no log has.")
            elif each.what != "file":
                self.report.wrong(f"{self.shelf.prefix}{each.path} is no plain file.")
            elif tile is None:
                if each.path not in self.shelf.taken:
                    self.report.wrong(f"{self.shelf.prefix}{each.path} is a file that no log has.")
            elif each.path not in self.shelf.taken:
                self._compare(tile)

    def _bundle(self, tile: Tile, take: Callable[[int, bytes], None]) -> bool:
        try:
            entries = read_bundle(self.shelf.tile(tile), tile)
        except Missing:
            self.report.wrong(f"{self._named(tile)} is missing, and {tile.width:,} entries with it.")
            return False
        except TileError as error:
            self.report.wrong(f"{self.shelf.prefix}{error}")
            return False
        hashes = _hashed(entries)
        first = tile.number * WIDTH
        self._add(tile, hashes)
        self.hold = self._compare(tile._replace(kind="0"), hashes) and self.hold
        if self.hold:
            for at, entry in enumerate(entries, first):
                take(at, entry)
        return True

    def _add(self, tile: Tile, hashes: list[bytes]) -> None:
        """The hashes of a bundle, which is the next one, or the last one as it is now."""
        first = tile.number * WIDTH
        for size in self.wanted:
            if first < size <= first + len(hashes):
                self.roots[size] = root_of([*self._frontier, *extended([], 0, hashes[: size - first])])
        self.size, self._rest = first + len(hashes), hashes
        self.tiles += 1
        if len(hashes) < WIDTH:
            return
        self._rest, top = [], top_of(hashes)
        self._frontier = extended(self._frontier, tile.number, [top])
        for row in self._rows:
            row.append(top)
            if len(row) % WIDTH:
                return
            top = top_of(row[-WIDTH:])
        self._rows.append([top])

    def _compare(self, tile: Tile, hashes: list[bytes] | None = None) -> bool:
        """Whether a tile is there and is what follows from the leaves."""
        try:
            found = self.shelf.tile(tile)
            right = b"".join(hashes) if hashes is not None else self._right(tile)
        except Missing:
            self.report.wrong(f"{self._named(tile)} is missing.")
            return False
        except TileError as error:
            self.report.wrong(f"{self.shelf.prefix}{error}")
            return False
        self.tiles += 1
        if found == right:
            return True
        if right is None:
            self.report.wrong(f"{self._named(tile)} is of entries that are not there.")
            return False
        at = next((at for at in range(tile.width) if found[at * HASH_BYTES :][:HASH_BYTES] != right[at * HASH_BYTES :][:HASH_BYTES]), None)
        if hashes is not None and at is not None:
            self.report.wrong(f"Entry {tile.number * WIDTH + at:,} is not the one that {self._named(tile)} has the hash of.")
        else:
            self.report.wrong(f"{self._named(tile)} is not what follows from the entries.")
        return False

    def _right(self, tile: Tile) -> bytes | None:
        """What a tile must be; None where the leaves for it are not there. Raises Missing, TileError."""
        first = tile.number * WIDTH
        if tile.kind not in {ENTRIES, "0"}:
            level = int(tile.kind) - 1
            found = self._rows[level][first : first + tile.width] if level < len(self._rows) else []
            return b"".join(found) if len(found) == tile.width else None
        if first + tile.width > self.size:
            return None
        widest = Tile(ENTRIES, tile.number, min(WIDTH, self.size - first))
        entries = read_bundle(self.shelf.tile(widest), widest)[: tile.width]
        return bundle(entries) if tile.kind == ENTRIES else b"".join(_hashed(entries))

    def _named(self, tile: Tile) -> str:
        return f"{self.shelf.prefix}{tile.path}"


def _hashed(entries: list[bytes]) -> list[bytes]:
    """Leaf hashes; the first byte is hashed once and copied, which is quicker than joining."""
    found = []
    for each in entries:
        hashing = _LEAF.copy()
        hashing.update(each)
        found.append(hashing.digest())
    return found
