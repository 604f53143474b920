"""A witness's one look at a log as it is published: for a witness that is asked by nobody, and looks by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from audit.note import Checkpoint, Note, NoteError, Signature, read_signatures
from audit.tiles import CHECKPOINT, WIDTH, Tile, TileError, TileHashes, beginning
from audit.tree import consistency_proof
from audit.witness import BROKEN, CONFLICT, OK, SIZE, Request, Witness
from audit.witness_files import NOTHING, Seen, WitnessError

COSIGNED, WRONG, UNREAD = 0, 1, 2
Fetch = Callable[[str], bytes | None]
"""The content of a published path; None for one that is not there. Raises UnreadError."""
_TURNS: Final = 3


class UnreadError(Exception):
    """The log could not be read. The message is a sentence."""


class _GoneError(UnreadError):
    """A file that belongs to the checkpoint is not there: perhaps the log grew meanwhile."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a look ended: COSIGNED, WRONG or UNREAD, the words for it, and the note with the witness's line where it was cosigned."""

    verdict: int
    words: str
    note: bytes = b""


def look(witness: Witness, fetch: Fetch, now: datetime) -> Looked:
    """Fetch the checkpoint, and what proves that it goes on from the last one seen; cosign it by the rules of `add_checkpoint`.

    Where the log grows meanwhile, or another look comes between, it looks again.
    """
    looked = Looked(UNREAD, "The log grew faster than it could be read. Nothing was cosigned.")
    for _ in range(_TURNS):
        try:
            found = _looked(witness, fetch, now)
        except _GoneError as error:
            looked = Looked(UNREAD, f"{error} Nothing was cosigned.")
        except UnreadError as error:
            return Looked(UNREAD, f"{error} Nothing was cosigned.")
        except WitnessError as error:
            return Looked(UNREAD, str(error))
        except OSError as error:
            return Looked(UNREAD, f"{error.filename or 'A file'} could not be read or written ({error.strerror}). Nothing was cosigned.")
        except (NoteError, TileError) as error:
            return Looked(WRONG, f"{error} Nothing was cosigned.")
        else:
            if found is not None:
                return found
    return looked


def _looked(witness: Witness, fetch: Fetch, now: datetime) -> Looked | None:
    """One look; None where it has to be taken again. Raises what `look` catches."""
    raw = fetch(CHECKPOINT)
    if raw is None:
        raise UnreadError("There is no checkpoint.")
    note = Note.read(raw)
    found = Checkpoint.read(note.text)
    seen = witness.memory.read().get(found.origin, NOTHING)
    if found.size < seen.size and note.signed_by(witness.logs.get(found.origin, ())):
        return _shrunk(witness, note, found, seen)
    proof: list[bytes] = []
    if 0 < seen.size < found.size:
        proof = consistency_proof(TileHashes(lambda path: _tile(fetch, path), found.size), seen.size, found.size)
    answer = witness.add_checkpoint(Request(min(seen.size, found.size), tuple(proof), note, found).raw, now)
    if answer.status == CONFLICT and answer.content_type == SIZE:
        return None
    said = answer.body.decode().strip()
    if answer.status != OK:
        return Looked(UNREAD if answer.status == BROKEN else WRONG, said)
    more = f", {found.size - seen.size:,} more than before" if seen.note else "; it is the first look at this log"
    return Looked(COSIGNED, f"Cosigned: {found.origin}, {found.size:,} entries{more}.", _with(note, read_signatures(answer.body.decode())))


def _shrunk(witness: Witness, note: Note, found: Checkpoint, seen: Seen) -> Looked:
    how = f"it shows {found.size:,} entries, after {seen.size:,} that it signed before"
    with witness.memory.locked():
        witness.accuse("smaller", (), note, seen, how)
    return Looked(WRONG, f"The log goes back: {how}. The checkpoint is kept as evidence. Nothing was cosigned.")


def _tile(fetch: Fetch, path: str) -> bytes:
    """A tile of hashes. Where a partial one is gone, the full one that took its place has the same hashes first."""
    raw = fetch(path)
    tile = Tile.read(path)
    if raw is None and tile is not None and tile.width < WIDTH:
        full = fetch(tile._replace(width=WIDTH).path)
        raw = beginning(full, tile) if full is not None else None
    if raw is None:
        raise _GoneError(f"{path} is not there, without which nobody can tell whether the log was rewritten.")
    return raw


def _with(note: Note, given: tuple[Signature, ...]) -> bytes:
    """The note with these lines, in place of older ones of the same keys."""
    new = {(each.name, each.key_id) for each in given}
    return Note(note.text, (*(each for each in note.signatures if (each.name, each.key_id) not in new), *given)).raw
