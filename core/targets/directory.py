"""A folder: on another disk, or one that another machine lends (NFS, SMB). What it says is on the disk when put returns."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, unquote

from core.targets.target import (
    BLOCK,
    Entry,
    Kind,
    Sink,
    Source,
    Stored,
    TargetError,
    checked,
    checked_prefix,
    compared,
    is_name,
    is_partial,
    partial_of,
)

_EXAMPLE: Final = "for example file:///backups/keychest"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})
_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_DO: Final = {
    "full": "Make room there, or name another target.",
    "refused": "Let the user that KeyChest runs as write there.",
    "unreachable": "See whether the disk is there and well.",
}


@dataclass(frozen=True, slots=True)
class DirectoryTarget:
    """Files below `root`, which is made when it is missing. Folders are made with mode 0700, files with 0600."""

    root: Path

    @classmethod
    def at(cls, parts: SplitResult) -> DirectoryTarget:
        """The folder of a file: URL. Raises ValueError."""
        path = Path(unquote(parts.path))
        if parts.netloc or parts.query or len(path.parts) < 2 or not path.is_absolute() or "\0" in str(path):  # noqa: PLR2004 - "/" and one more
            raise ValueError(f"A folder is given by three slashes and its path from the root, with nothing after it, {_EXAMPLE}.")
        return cls(path)

    @property
    def shown(self) -> str:
        """As in Target."""
        return self.root.as_uri()

    def device(self) -> int:
        """The number of the filesystem (st_dev) that the folder lies on, or would when it is made. Raises TargetError."""
        with self._telling():
            for folder in (self.root, *self.root.parents):
                with suppress(FileNotFoundError, NotADirectoryError):
                    return folder.stat().st_dev
        raise AssertionError("the root folder is always there")

    def put(self, name: str, content: BinaryIO) -> Stored:
        """As in Target."""
        path = self.root / checked(name)
        source = Source(content)
        with self._telling(source, kept="Nothing was stored."):
            _make_folders(path.parent)
            if os.path.lexists(path):
                source.drain()
                return self._compared(path, source.stored(name))
            partial = path.with_name(partial_of(path.name))
            try:
                _write(partial, source)
                put = source.stored(name)
                if _measured(partial, name) != put:
                    raise TargetError(
                        "damaged",
                        f"What {self.shown} gives back of {name} is not what was written. Nothing was stored. Look for errors of the disk.",
                    )
                if not _publish(partial, path):
                    return self._compared(path, put)
                return put
            finally:
                with suppress(OSError):  # where nothing may be deleted it stays, hidden
                    partial.unlink()

    def get(self, name: str, into: BinaryIO) -> Stored:
        """As in Target."""
        sink = Sink(into)
        with self._telling(sink):
            try:
                _read(self.root / checked(name), sink)
            except OSError as error:
                if not sink.broken and error.errno in _MISSING:
                    raise self._missing(name) from error
                raise
        return sink.stored(name)

    def names(self, under: str = "") -> list[Entry]:
        """As in Target."""
        top = self.root / checked_prefix(under).rpartition("/")[0]
        found: list[Entry] = []
        with self._telling():
            folders = [top]
            while folders:
                folder = folders.pop()
                with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as items:
                    for item in items:
                        name = (folder / item.name).relative_to(self.root).as_posix()
                        if not is_name(name):
                            continue
                        if item.is_dir(follow_symlinks=False):
                            folders.append(folder / item.name)
                        elif item.is_file(follow_symlinks=False) and name.startswith(under):
                            found.append(Entry(name, item.stat(follow_symlinks=False).st_size))
        return sorted(found, key=lambda entry: entry.name)

    def remove(self, name: str) -> None:
        """As in Target."""
        path = self.root / checked(name)
        with self._telling(), suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                _sync_folder(path.parent)

    def sweep(self, before: datetime) -> int:
        """As in Target."""
        swept = 0
        with self._telling():
            for folder, _, leaves in os.walk(self.root):
                for path in (Path(folder, leaf) for leaf in leaves if is_partial(leaf)):
                    with suppress(FileNotFoundError):
                        found = path.lstat()
                        if stat.S_ISREG(found.st_mode) and found.st_mtime < before.timestamp():
                            path.unlink()
                            swept += 1
        return swept

    def _compared(self, path: Path, put: Stored) -> Stored:
        try:
            found = _measured(path, put.name)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            found = Stored(put.name, 0, "")  # a folder or a link: whatever it is, it is not ours
        return compared(self.shown, put, found)

    def _missing(self, name: str) -> TargetError:
        return TargetError(
            "missing",
            f"{self.shown} holds no {name}. Nothing was read. Look at what it holds, and whether the right disk is mounted there.",
        )

    @contextmanager
    def _telling(self, stream: Source | Sink | None = None, *, kept: str = "Nothing was changed.") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if stream is not None and stream.broken:
                raise
            kind: Kind = "full" if error.errno in _FULL else "refused" if error.errno in _REFUSED else "unreachable"
            if error.errno in {errno.ENOTDIR, errno.EEXIST}:
                raise TargetError(
                    "exists", f"In {self.shown} a file lies where a folder is needed. {kept} Put it under another name."
                ) from error
            raise TargetError(kind, f"{self.shown} cannot be used: {error.strerror}. {kept} {_DO[kind]}") from error


def _make_folders(folder: Path) -> None:
    """The folder and its parents, each on the disk for certain. One that is there is left as it is."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(path.parent)


def _write(partial: Path, source: Source) -> None:
    number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(number, "wb", buffering=0) as file:
        while block := source.block():
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(number)
        if hasattr(os, "posix_fadvise"):  # so that what is read back comes from the disk, not from memory
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)


def _publish(partial: Path, path: Path) -> bool:
    """Give the whole file its name, and never another's: False when the name was taken meanwhile.

    A second link, because rename would overwrite and needs the right to delete. Where there are no links (FAT, some of SMB) it is
    rename after a look: two at once might then both store, and the later one stays.
    """
    try:
        os.link(partial, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            return False
        partial.rename(path)
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network filesystems sync folders by themselves
            raise
    finally:
        os.close(number)


def _measured(path: Path, name: str) -> Stored:
    sink = Sink()
    _read(path, sink)
    return sink.stored(name)


def _read(path: Path, sink: Sink) -> None:
    """Raises OSError, ENOENT also for what is no regular file: opening a pipe would wait for ever."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            sink.write(block)
