"""A copy of the published logs in another folder: a stranger finds there all that the verifier asks for, and nothing that is half there.

A log only grows. A source that shows less than the copy has, or no checkpoint at all, changes nothing in the copy.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from audit.note import Checkpoint, Note, NoteError
from audit.reading import Missing, Place, Unreadable
from audit.tiles import CHECKPOINT, CONTINUED, WIDTH, tiles_of

MOST_LOGS: Final = 1_000


class MirrorError(Exception):
    """The logs could not be copied whole; what was there before still is. The message is a sentence."""


def mirror(source: Place, into: Path) -> int:
    """Copy what is new in every log; how many files. Tiles first, then the checkpoint that promises them. Raises MirrorError, OSError."""
    copied, number = 0, 1
    while number <= MOST_LOGS:
        under = "" if number == 1 else f"{number}/"
        try:
            copied += _one(source, under, into)
            following = source.read(f"{under}{CONTINUED}")
        except Missing:
            return copied
        except (Unreadable, NoteError) as error:
            raise MirrorError(str(error)) from None
        copied += _put(into / under / CONTINUED, following)
        if following.strip() != str(number + 1).encode():
            return copied
        number += 1
    return copied


def _one(source: Place, under: str, into: Path) -> int:
    """A log's files. Raises Unreadable, NoteError, MirrorError for what cannot be as it is."""
    try:
        raw = source.read(f"{under}{CHECKPOINT}")
    except Missing:
        return 0
    size, had = _size(raw), _had(into / under / CHECKPOINT)
    if size < had:
        raise MirrorError(f"The log shows {size} entries, and showed {had} before: that is no growth. The copy stays as it was.")
    copied = 0
    for tile in tiles_of(size):
        path = into / under / tile.path
        if path.is_file():
            continue
        try:
            copied += _put(path, source.read(f"{under}{tile.path}"))
        except Missing:
            raise MirrorError(f"The log's file {tile.path} is not there, though its checkpoint promises it.") from None
    copied += _put(into / under / CHECKPOINT, raw)
    for tile in tiles_of(size):
        if tile.width == WIDTH:
            shutil.rmtree(into / under / f"{tile.path}.p", ignore_errors=True)
    return copied


def _size(raw: bytes) -> int:
    return Checkpoint.read(Note.read(raw).text).size


def _had(path: Path) -> int:
    try:
        return _size(path.read_bytes())
    except (FileNotFoundError, NoteError):
        return 0


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
