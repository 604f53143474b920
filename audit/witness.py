"""A witness: cosigns a log's checkpoints as long as each one goes on from the one before, as C2SP's tlog-witness has it.

What it cosigned last is on the disk before an answer leaves, compared and swapped under a lock: of two who ask with the same old size,
one is served, and the other is told the size. A cosignature says: at this time, this was the largest consistent tree of this log that I
had seen.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import COSIGNATURE, ED25519, Checkpoint, Note, NoteError, Verifier, cosign, public_of, read_base64
from audit.tree import HASH_BYTES, consistent
from audit.witness_files import NOTHING, Memory, Seen, WitnessError

WORDS: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
MOST_PROOF: Final = 63
OK, BAD, FORBIDDEN, UNKNOWN, CONFLICT, INCONSISTENT, BROKEN = 200, 400, 403, 404, 409, 422, 500
_OLD = re.compile(rb"old (0|[1-9][0-9]{0,18})")
log = logging.getLogger("keychest.witness")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered over HTTP."""

    status: int
    content_type: str
    body: bytes


class _RefusedError(Exception):
    """Why a request is not looked at further. The message is a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What `add-checkpoint` is asked: whoever asks says that the witness saw `old` entries last, and proves that these go on from them."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint

    @classmethod
    def read(cls, body: bytes) -> Request:
        """A request as the specification has it, byte for byte. Raises NoteError."""
        head, blank, raw = body.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        old = _OLD.fullmatch(first)
        if old is None or not blank:
            raise NoteError("A request begins with `old`, a space and a size, and has an empty line before the checkpoint.")
        if len(lines) > MOST_PROOF:
            raise NoteError(f"{len(lines)} lines of proof are more than {MOST_PROOF}.")
        proof = tuple(read_base64(line.decode("ascii", "replace")) for line in lines)
        if any(len(each) != HASH_BYTES for each in proof):
            raise NoteError(f"A line of the proof is not a hash of {HASH_BYTES} bytes.")
        note = Note.read(raw)
        return cls(int(old[1]), proof, note, Checkpoint.read(note.text))

    @property
    def raw(self) -> bytes:
        """As `read` takes it."""
        lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.note.raw


@dataclass(frozen=True, slots=True)
class Witness:
    """A name, a key, the logs that are known (origin to its keys: several while one follows another), and what was seen of them."""

    name: str
    key: Ed25519PrivateKey
    logs: Mapping[str, tuple[Verifier, ...]]
    memory: Memory

    @property
    def vkey(self) -> str:
        """The public half, as logs and verifiers are given it."""
        return public_of(self.key, self.name, COSIGNATURE).vkey

    def add_checkpoint(self, body: bytes, now: datetime) -> Answer:
        """The answer to an `add-checkpoint`. A fork that is shown in it is kept as evidence."""
        try:
            asked, shown = self._asked(body)
            with self.memory.locked():
                return self._decided(asked, shown, now)
        except _RefusedError as refused:
            return _words(refused.status, str(refused))
        except WitnessError as error:
            log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
            return _words(BROKEN, str(error))
        except OSError as error:
            log.error("The state could not be read or written (%s). Nothing was cosigned.", error)  # noqa: TRY400 - as above
            return _words(BROKEN, "The state could not be read or written. Nothing was cosigned.")

    def _asked(self, body: bytes) -> tuple[Request, Note]:
        """What is asked, and the checkpoint with those signatures that are the log's. Raises _RefusedError."""
        try:
            asked = Request.read(body)
        except NoteError as error:
            raise _RefusedError(BAD, str(error)) from None
        keys = self.logs.get(asked.checkpoint.origin)
        if keys is None:
            raise _RefusedError(UNKNOWN, "This witness does not know the log of that origin.")
        try:
            signed = asked.note.signed_by(keys)
        except NoteError as error:
            raise _RefusedError(FORBIDDEN, str(error)) from None
        if not signed:
            raise _RefusedError(FORBIDDEN, "The checkpoint is not signed by a key that this witness knows of that log.")
        if asked.old > asked.checkpoint.size:
            raise _RefusedError(BAD, f"The old size, {asked.old}, is larger than the checkpoint's, {asked.checkpoint.size}.")
        return asked, Note(asked.note.text, tuple(line for _, line in signed))

    def _decided(self, asked: Request, shown: Note, now: datetime) -> Answer:
        """Compare with what was seen last, and swap. `shown` is the checkpoint with the signatures that hold. The lock is held."""
        found = asked.checkpoint
        known = self.memory.read()
        seen = known.get(found.origin, NOTHING)
        forked = found.size == seen.size and found.root != seen.root
        if forked:
            self.accuse("fork", asked.proof, shown, seen, f"it signed two trees of {found.size} entries")
        if asked.old != seen.size:
            return Answer(CONFLICT, SIZE, f"{seen.size}\n".encode())
        if forked:
            return _words(CONFLICT, f"Another tree of {found.size} entries was cosigned before. Both checkpoints are kept as evidence.")
        if not (consistent(asked.old, found.size, seen.root, found.root, asked.proof) if asked.old else not asked.proof):
            self.accuse(
                "proof", asked.proof, shown, seen, f"no proof was given that its {found.size} entries begin with {seen.size} seen before"
            )
            return _words(
                INCONSISTENT, f"The proof does not show that these {found.size} entries begin with the {seen.size} cosigned before."
            )
        at = max(int(now.timestamp()), seen.at)
        self.memory.keep(known | {found.origin: Seen(found.size, found.root, shown.raw.decode(), at)})
        return Answer(OK, WORDS, cosign(shown.text, self.name, self.key, at).line.encode())

    def accuse(self, kind: str, proof: Iterable[bytes], shown: Note, seen: Seen, how: str) -> None:
        """Keep what a log signed, beside what it signed before, and say so. The lock is held. Raises OSError."""
        origin = Checkpoint.read(shown.text).origin
        facts = {
            "origin": origin,
            "says": how,
            "shown": shown.raw.decode(),
            "cosigned_before": seen.note,
            "proof": [base64.b64encode(each).decode() for each in proof],
        }
        path = self.memory.accuse(kind, facts)
        log.error("EVIDENCE against %s: %s. %s", origin, how, f"It lies in {path}." if path else "Of this kind no more is kept.")


def known_logs(vkeys: Iterable[str]) -> dict[str, tuple[Verifier, ...]]:
    """The logs of these keys; several keys of one origin are one log. Raises NoteError."""
    found: dict[str, tuple[Verifier, ...]] = {}
    for vkey in vkeys:
        key = Verifier.read(vkey)
        if key.kind != ED25519:
            raise NoteError(f"{vkey!r} is a key of a witness, and not of a log.")
        found[key.name] = (*(each for each in found.get(key.name, ()) if each != key), key)
    return found


def _words(status: int, sentence: str) -> Answer:
    return Answer(status, WORDS, f"{sentence}\n".encode())
