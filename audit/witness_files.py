"""What a witness keeps in files: its key, what it saw last of each log, and what it has against logs.

Nothing here is asked of the network, and nothing of KeyChest's database: a witness runs on another machine.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.flushed import flush_folder
from audit.note import COSIGNATURE, Checkpoint, Note, NoteError, Verifier, proper_name, public_of, read_base64
from audit.tree import EMPTY

MOST_EVIDENCE: Final = 32
"""Of each kind. Beyond it nothing more is kept: the first is what counts."""
_KEY_FORM: Final = "keychest-witness-key-1"
_FIELDS: Final = frozenset({"size", "root", "note", "at"})
_LATEST: Final = 1 << 63


class WitnessError(Exception):
    """A file of the witness cannot be used. The message is a sentence, and says what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest checkpoint of a log that was cosigned: `note` with the log's signatures, `at` the time in the cosignature."""

    size: int
    root: bytes
    note: str
    at: int


NOTHING: Final = Seen(0, EMPTY, "", 0)
"""Of a log of which none was cosigned."""


def make_key(path: Path, name: str) -> Verifier:
    """A new key in a new file that its owner alone reads; the public half. Raises WitnessError, and OSError where it is there already."""
    if not proper_name(name):
        raise WitnessError(
            f"{name!r} is no name for a witness. Write an address without https://, for example witness.example.org/keychest."
        )
    key = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{_KEY_FORM} {name} {base64.b64encode(key.private_bytes_raw()).decode()}\n")
        file.flush()
        os.fsync(file.fileno())
    flush_folder(path.parent)
    return public_of(key, name, COSIGNATURE)


def read_key(path: Path) -> tuple[str, Ed25519PrivateKey]:
    """Name and key of a witness. Raises WitnessError, OSError."""
    if path.stat().st_mode & 0o007:
        raise WitnessError(f"{path} can be read by everybody on this machine. Run chmod 600 on it; if others were here, make a new key.")
    words = path.read_text(encoding="ascii", errors="replace").removesuffix("\n").split(" ")
    with suppress(ValueError):
        form, name, coded = words
        if form == _KEY_FORM and proper_name(name):
            return name, Ed25519PrivateKey.from_private_bytes(read_base64(coded))
    raise WitnessError(f"{path} is no key of a witness. `./keychest witness keygen` makes one.")


@dataclass(frozen=True, slots=True)
class Memory:
    """The state file, `{origin: {size, root, note, at}}`; beside it a lock, and a folder of evidence."""

    path: Path

    def begin(self) -> bool:
        """Make the file where there is none; whether it was made. From then on one that is missing is damage. Raises OSError."""
        with self.locked():
            if self.path.exists():
                return False
            self.keep({})
            return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, of whatever process or thread, changes the state until the block ends. Raises OSError."""
        lock = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def read(self) -> dict[str, Seen]:
        """What was seen last of each log. Raises WitnessError for a file that is missing or not as it was written, and OSError."""
        try:
            told = json.loads(self.path.read_bytes())
            return {origin: _seen(origin, each) for origin, each in told.items()}
        except FileNotFoundError:
            raise WitnessError(f"{self.path} is gone. {_REFUSES}") from None
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise WitnessError(f"{self.path} is damaged. {_REFUSES}") from None

    def keep(self, seen: Mapping[str, Seen]) -> None:
        """Write it all anew, on the disk before this returns. The caller holds the lock. Raises OSError."""
        told = {
            origin: {"size": each.size, "root": base64.b64encode(each.root).decode(), "note": each.note, "at": each.at}
            for origin, each in seen.items()
        }
        self._write(self.path, json.dumps(told, indent=1, ensure_ascii=False).encode() + b"\n")

    def accuse(self, kind: str, facts: Mapping[str, object]) -> Path | None:
        """Keep something against a log; where it lies. None where as much of this kind is kept as may be. Raises OSError."""
        content = json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n"
        folder = self._beside(".evidence")
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{kind}-{hashlib.sha256(str(facts['shown']).encode()).hexdigest()[:32]}.json"
        if path.exists():
            return path
        if len(list(folder.glob(f"{kind}-*.json"))) >= MOST_EVIDENCE:
            return None
        self._write(path, content)
        return path

    def _beside(self, end: str) -> Path:
        return self.path.with_name(f"{self.path.name}{end}")

    def _write(self, path: Path, content: bytes) -> None:
        fresh = self._beside(".new")  # one writer at a time: the caller holds the lock
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        flush_folder(path.parent)


_REFUSES: Final = (
    "Nothing is cosigned: without what was seen before, a log that was rewritten could not be told. "
    "Put the file back as it was; where that cannot be, begin with a new key, a new name and a new state file."
)


def _seen(origin: str, told: Mapping[str, object]) -> Seen:
    """One log's part of the state. Raises what wrong shapes raise; each field is compared with the note."""
    size, root, note, at = told["size"], told["root"], told["note"], told["at"]
    if set(told) != _FIELDS or not (isinstance(root, str) and isinstance(note, str)):
        raise ValueError(origin)
    if type(size) is not int or type(at) is not int or not 0 <= at < _LATEST:
        raise ValueError(origin)
    found = Seen(size, read_base64(root), note, at)
    if Checkpoint.read(Note.read(note.encode()).text) != Checkpoint(origin, found.size, found.root):
        raise NoteError(origin)
    return found
