"""Writes a log's public files: bundles and tiles first, the checkpoint last. What was published is never overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.keeper import Keeper
from audit.note import Checkpoint, Note, NoteError
from audit.tiles import CHECKPOINT, CONTINUED, ENTRIES, WIDTH, Tile, bundle, read_hashes, tiles_of, top_of
from audit.tree import HASH_BYTES, leaf_hash

_BITS: Final = 8
Bodies = Callable[[int, int], list[bytes]]
"""The entries from an index up to another one."""


def published_note(keeper: Keeper, number: int) -> Note | None:
    """The checkpoint that everybody sees, with its signatures; None before the first, and where the file is none."""
    try:
        return Note.read((keeper.public_of(number) / CHECKPOINT).read_bytes())
    except (FileNotFoundError, NoteError):
        return None


def published(keeper: Keeper, number: int) -> Checkpoint | None:
    """What it promises; None before the first, and where the file is none."""
    note = published_note(keeper, number)
    try:
        return Checkpoint.read(note.text) if note else None
    except NoteError:
        return None


def whole(keeper: Keeper, number: int, size: int) -> bool:
    """Whether every file that a log of this size consists of is there."""
    folder = keeper.public_of(number)
    return all((folder / tile.path).is_file() for tile in tiles_of(size))


def publish_tiles(keeper: Keeper, number: int, size: int, begin: int, bodies: Bodies) -> None:
    """Bundles and tiles of a log of `size`, of which `begin` entries are published. Raises KeeperError, OSError, TileError."""
    folder = keeper.public_of(number)
    for tile in tiles_of(size, begin):
        if tile.kind == ENTRIES:
            first = tile.number * WIDTH
            entries = bodies(first, first + tile.width)
            keeper.put_public(folder / tile.path, bundle(entries))
            keeper.put_public(folder / Tile("0", tile.number, tile.width).path, b"".join(map(leaf_hash, entries)))
        elif tile.kind != "0":
            keeper.put_public(folder / tile.path, _above(folder, tile, begin))


def publish_checkpoint(keeper: Keeper, number: int, note: bytes, size: int, begin: int) -> None:
    """The checkpoint, last; then partial tiles go whose full tile came since `begin`."""
    folder = keeper.public_of(number)
    if not (folder / CHECKPOINT).exists() or (folder / CHECKPOINT).read_bytes() != note:
        keeper.put_public(folder / CHECKPOINT, note, overwrite=True)
    drop_narrower(keeper, number, size, begin)


def drop_narrower(keeper: Keeper, number: int, size: int, begin: int = 0) -> None:
    """Partial tiles go whose full tile is published: since `begin`, or all of them, as after a crash beside the checkpoint."""
    for tile in tiles_of(size, begin):
        if tile.width == WIDTH:
            shutil.rmtree(keeper.public_of(number) / f"{tile.path}.p", ignore_errors=True)


def say_continued(keeper: Keeper, number: int) -> None:
    """In the folder of the log before: that log `number` goes on where it could not."""
    before = keeper.public_of(number - 1)
    before.mkdir(mode=0o755, parents=True, exist_ok=True)
    keeper.put_public(before / CONTINUED, f"{number}\n".encode())


def _above(folder: Path, tile: Tile, begin: int) -> bytes:
    """A tile of a higher level: what is published of it, and the tops of the full tiles below that came since."""
    level = int(tile.kind)
    first = tile.number * WIDTH
    known = max(0, min(WIDTH, (begin >> (_BITS * level)) - first))
    old = folder / Tile(tile.kind, tile.number, known).path if known else None
    hashes = old.read_bytes() if old is not None and old.is_file() else b""
    for each in range(first + len(hashes) // HASH_BYTES, first + tile.width):
        below = Tile(str(level - 1), each, WIDTH)
        hashes += top_of(read_hashes((folder / below.path).read_bytes(), below))
    return hashes
