"""What the log keeps outside the database, in one folder: its key, the last checkpoint of each log, the list of erasures, the public files.

key                   the private key, for the sequencer alone (0600); key.next while it is being rotated
last-checkpoint-N     the newest checkpoint of log N that was ever signed: a database that holds less was restored, or changed
witnesses.json        what each witness said last
erased                LOG INDEX, a line for each entry whose private part was erased
public/               what everybody may have: log 1; log N in public/N (audit/publish.py)
tmp/                  files that are being written; the lock
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.flushed import flush_folder
from audit.note import Checkpoint, Note, NoteError

KEY: Final = "key"
STANDING: Final = "witnesses.json"
_NEXT, _LAST, _ERASED, _PUBLIC, _TMP, _LOCK = "key.next", "last-checkpoint-", "erased", "public", "tmp", "lock"
_KEY_FORM: Final = "keychest-log-key-1"
_LONG_S: Final = 60.0


class KeeperError(Exception):
    """A file outside the database is damaged. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """The folder. Every file appears whole or not at all, and is flushed to the disk before anything follows from it."""

    folder: Path

    def prepare(self) -> None:
        """The folders and the list are there. Raises OSError."""
        for folder in (self.folder, self.public, self.folder / _TMP):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # whole from the beginning: it is empty
            os.close(os.open(self.folder / _ERASED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            flush_folder(self.folder)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether this process alone works on the folder, until the block ends. What was left half-written long ago is gone then."""
        (self.folder / _TMP).mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(self.folder / _TMP / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            os.utime(lock)
            long_ago = os.fstat(lock).st_mtime - _LONG_S  # younger files may be a new key's, or be written by who waits
            for left in (self.folder / _TMP).iterdir():
                with suppress(FileNotFoundError):
                    if left.stat().st_mtime < long_ago:
                        left.unlink()
            yield True
        finally:
            os.close(lock)

    @property
    def public(self) -> Path:
        """Where the published files are."""
        return self.folder / _PUBLIC

    def public_of(self, number: int) -> Path:
        """Where those of one log are."""
        return self.public if number == 1 else self.public / str(number)

    def key(self) -> Ed25519PrivateKey:
        """The key that a new log's checkpoints are signed with, made by whoever comes first. Raises OSError, KeeperError."""
        path = self.folder / KEY
        if not path.exists():
            self._write(path, _key_lines(Ed25519PrivateKey.generate()), mode=0o600, anew=True)
        return _read_key(path)

    def key_there(self) -> Ed25519PrivateKey | None:
        """That key, where there is one. Raises OSError, KeeperError."""
        path = self.folder / KEY
        return _read_key(path) if path.exists() else None

    def make_next_key(self) -> None:
        """A new key is there for the sequencer to take over. Raises OSError."""
        self._write(self.folder / _NEXT, _key_lines(Ed25519PrivateKey.generate()), mode=0o600, anew=True)

    def next_key(self) -> Ed25519PrivateKey | None:
        """The key that waits to be taken over. Raises OSError, KeeperError."""
        path = self.folder / _NEXT
        return _read_key(path) if path.exists() else None

    def take_next_key(self) -> None:
        """The key that waited is the key."""
        (self.folder / _NEXT).replace(self.folder / KEY)
        flush_folder(self.folder)

    def last(self, number: int) -> Checkpoint | None:
        """The newest checkpoint of a log that was signed here; of size 0 where its first entry was about to be.

        Raises KeeperError and OSError.
        """
        path = self.folder / f"{_LAST}{number}"
        try:
            return Checkpoint.read(Note.read(path.read_bytes()).text)
        except FileNotFoundError:
            return None
        except NoteError as error:
            raise KeeperError(f"{path} is damaged: {error}") from None

    def newest(self) -> int:
        """The number of the newest log that a checkpoint is kept of; 0 for none."""
        numbers = [each.name.removeprefix(_LAST) for each in self.folder.glob(f"{_LAST}*")]
        return max((int(each) for each in numbers if each.isdecimal()), default=0)

    def keep_last(self, number: int, note: bytes) -> None:
        """Keep a checkpoint before anybody outside can have seen it."""
        self._write(self.folder / f"{_LAST}{number}", note)

    def erased(self) -> set[tuple[int, int]]:
        """Log and index of every entry whose private part was erased. Raises KeeperError, OSError."""
        path = self.folder / _ERASED
        try:
            return {(int(log), int(index)) for log, index in (line.split() for line in path.read_text().splitlines())}
        except FileNotFoundError:
            return set()
        except ValueError:
            raise KeeperError(f"{path} is damaged: each line is the number of a log and an index.") from None

    def erased_changed(self) -> int:
        """When that list was written, as a number that is another one for another list; 0 where there is none."""
        with suppress(FileNotFoundError):
            return (self.folder / _ERASED).stat().st_mtime_ns
        return 0

    def keep_erased(self, erased: Sequence[tuple[int, int]]) -> None:
        """The whole list. It names entries, and nobody."""
        self._write(self.folder / _ERASED, "".join(f"{log} {index}\n" for log, index in sorted(erased)).encode())

    def keep_standing(self, told: bytes) -> None:
        """What each witness said last, where that is another thing than before."""
        path = self.folder / STANDING
        if not path.exists() or path.read_bytes() != told:
            self._write(path, told)

    def put_public(self, path: Path, content: bytes, *, overwrite: bool = False) -> None:
        """A published file. What is there stays as it is, unless it is the checkpoint; another content there raises KeeperError."""
        if not overwrite and path.exists():
            if path.read_bytes() != content:
                raise KeeperError(f"{path} is published with another content, and what was published is never overwritten.")
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._write(path, content)

    def _write(self, path: Path, content: bytes, *, mode: int = 0o644, anew: bool = False) -> None:
        fresh = self.folder / _TMP / f"{os.getpid()}-{path.name}"
        fresh.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            fresh.unlink()
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if anew:
            with suppress(FileExistsError):  # somebody else was first, and theirs stays
                os.link(fresh, path)
            fresh.unlink()
        else:
            fresh.replace(path)
        flush_folder(path.parent)


def _key_lines(key: Ed25519PrivateKey) -> bytes:
    return f"{_KEY_FORM} {base64.b64encode(key.private_bytes_raw()).decode()}\n".encode()


def _read_key(path: Path) -> Ed25519PrivateKey:
    form, _, coded = path.read_text().strip().partition(" ")
    with suppress(ValueError):
        if form == _KEY_FORM:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(coded, validate=True))
    raise KeeperError(f"{path} is no key of a log. The recovery kit has it whole: docs/runbook.md says how.")
