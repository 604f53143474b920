"""Tiles, as C2SP's tlog-tiles has them: which files a log of a size consists of, what is in them, and hashes read from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from audit.tree import HASH_BYTES, node_hash

WIDTH: Final = 256
_BITS = 8  # a tile stands for this many levels of the tree
MOST_ENTRY_BYTES: Final = 65_535
ENTRIES: Final = "entries"
CHECKPOINT: Final = "checkpoint"
CONTINUED: Final = "continued"
"""The files of a log beside its tiles: what it promises, and the number of the log that goes on where it could not (decision 0014)."""
_PATH = re.compile(r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_THOUSAND = 1_000


class TileError(ValueError):
    """A tile or a bundle is not what it should be. The message is a sentence that names the file."""


class Tile(NamedTuple):
    """A file of a log: hashes of a level ("0", "1" ...) or `ENTRIES`; its number; how many hashes or entries it holds."""

    kind: str
    number: int
    width: int

    @property
    def path(self) -> str:
        """Its path under the log's prefix."""
        words, rest = [f"{self.number % _THOUSAND:03d}"], self.number // _THOUSAND
        while rest:
            words.insert(0, f"x{rest % _THOUSAND:03d}")
            rest //= _THOUSAND
        return f"tile/{self.kind}/{'/'.join(words)}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @classmethod
    def read(cls, path: str) -> Tile | None:
        """The tile with this path; None for a path that no tile has."""
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        number = int(found[2].replace("/", "").replace("x", ""))
        tile = cls(found[1], number, int(found[3] or WIDTH))
        return tile if tile.path == path else None


def tiles_of(size: int, begin: int = 0) -> Iterator[Tile]:
    """Every tile and bundle of a log of this size that one of `begin` entries has not: bundles first, then level by level."""
    for kind in (ENTRIES, "0"):
        yield from _row(kind, size, begin)
    level = 1
    while size >> (_BITS * level):
        yield from _row(str(level), size >> (_BITS * level), begin >> (_BITS * level))
        level += 1


def _row(kind: str, size: int, begin: int) -> Iterator[Tile]:
    if size == begin:
        return
    for number in range(begin // WIDTH, -(-size // WIDTH)):
        yield Tile(kind, number, min(WIDTH, size - number * WIDTH))


def bundle(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length, two bytes, big-endian. Raises TileError for an entry that is too long."""
    if any(len(each) > MOST_ENTRY_BYTES for each in entries):
        raise TileError(f"An entry of more than {MOST_ENTRY_BYTES:,} bytes does not fit into a bundle.")
    return b"".join(len(each).to_bytes(2) + each for each in entries)


def read_bundle(raw: bytes, tile: Tile) -> list[bytes]:
    """The entries of a bundle. Raises TileError unless there are just as many as its path says."""
    found, at = [], 0
    while at < len(raw):
        end = at + 2 + int.from_bytes(raw[at : at + 2])
        if at + 2 > len(raw) or end > len(raw):
            raise TileError(f"{tile.path} ends within an entry.")
        found.append(raw[at + 2 : end])
        at = end
    if len(found) != tile.width:
        raise TileError(f"{tile.path} holds {len(found)} entries instead of {tile.width}.")
    return found


def read_hashes(raw: bytes, tile: Tile) -> list[bytes]:
    """The hashes of a tile. Raises TileError unless there are just as many as its path says."""
    if len(raw) != tile.width * HASH_BYTES:
        raise TileError(f"{tile.path} is {len(raw):,} bytes long instead of {tile.width * HASH_BYTES:,}.")
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]


def beginning(full: bytes, tile: Tile) -> bytes:
    """A partial tile or bundle, from the full one that took its place. Raises TileError."""
    if tile.kind == ENTRIES:
        return bundle(read_bundle(full, tile._replace(width=WIDTH))[: tile.width])
    return full[: tile.width * HASH_BYTES]


def top_of(hashes: Sequence[bytes]) -> bytes:
    """The hash over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[each], hashes[each + 1]) for each in range(0, len(hashes), 2)]
    return hashes[0]


@dataclass(slots=True)
class TileHashes:
    """Hashes of complete subtrees, read from the tiles of a log of `size`: what `audit.tree` asks for. `fetch` gives a path's content.

    Raises TileError, and what `fetch` raises. Each tile is fetched once, so a proof costs log256(size) of them.
    """

    fetch: Callable[[str], bytes]
    size: int
    _kept: dict[Tile, list[bytes]] = field(default_factory=dict)

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of the subtree of 2**level leaves that begins at leaf index * 2**level."""
        row, within = divmod(level, _BITS)
        first = index << within
        hashes = self._hashes(row, first // WIDTH)
        at = first % WIDTH
        return top_of(hashes[at : at + (1 << within)])

    def _hashes(self, row: int, number: int) -> list[bytes]:
        tile = Tile(str(row), number, min(WIDTH, (self.size >> (_BITS * row)) - number * WIDTH))
        if tile not in self._kept:
            self._kept[tile] = read_hashes(self.fetch(tile.path), tile)
        return self._kept[tile]


def entry_at(fetch: Callable[[str], bytes], index: int, size: int) -> bytes:
    """One entry of a log of this size. Raises TileError, and what `fetch` raises."""
    number = index // WIDTH
    tile = Tile(ENTRIES, number, min(WIDTH, size - number * WIDTH))
    return read_bundle(fetch(tile.path), tile)[index % WIDTH]
