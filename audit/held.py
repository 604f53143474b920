"""What a verifier saw last, in a file of its own: of each log its size, root, keys and signed checkpoint. Changed only when all holds."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audit.note import Checkpoint, Note, NoteError, Verifier
from audit.reading import Unreadable

FORM: Final = "keychest-log-heads/1"
_MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """A log as it was: `note` is its checkpoint, signed by the last of `keys`; `place` is where it was read."""

    size: int
    root: bytes
    keys: tuple[str, ...]
    note: str
    place: str


def read_heads(path: Path) -> dict[str, Head]:
    """Heads by origin; none where the file is not there yet. Raises Unreadable for a file that is none of ours."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"{path} could not be read: {error.strerror}.") from None
    try:
        return _heads(raw)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(
            f"{path} is not what this program keeps ({error}). It stays as it is: take it from a backup, or begin another one."
        ) from None


def keep_heads(path: Path, heads: Mapping[str, Head]) -> None:
    """The whole file anew, or not at all. Raises Unreadable."""
    logs = {
        origin: {"size": each.size, "root": base64.b64encode(each.root).decode(), "keys": each.keys, "note": each.note, "place": each.place}
        for origin, each in sorted(heads.items())
    }
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("x") as file:
            json.dump({"format": FORM, "logs": logs}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise Unreadable(f"{path} could not be written: {error.strerror}. What was seen is not kept.") from None


def _heads(raw: bytes) -> dict[str, Head]:
    """Raises ValueError, and what a malformed file raises."""
    if len(raw) > _MOST_BYTES:
        raise ValueError("it is too long")
    told = json.loads(raw)
    if told["format"] != FORM:
        raise ValueError("it is of another format")
    return {origin: _head(origin, each) for origin, each in told["logs"].items()}


def _head(origin: str, told: dict[str, Any]) -> Head:
    """A head whose parts agree with each other. Raises ValueError, KeyError, TypeError."""
    note = Note.read(told["note"].encode())
    checkpoint = Checkpoint.read(note.text)
    root = base64.b64decode(told["root"], validate=True)
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (origin, told["size"], root):
        raise NoteError(f"what it keeps of {origin} does not agree with the checkpoint there")
    if not note.signed_by([Verifier.read(told["keys"][-1])]):
        raise NoteError(f"the checkpoint of {origin} in it is not signed by the key there")
    return Head(checkpoint.size, root, tuple(told["keys"]), told["note"], str(told["place"]))
