"""Files on this machine: measured, and new private places for what is restored."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from core.backups.engine import BackupError

_BLOCK = 1 << 20
STEADY_BYTES: Final = 16 << 20
"""How much is written before it is flushed."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SPARE_BYTES: Final = 64 << 20
_SPARE_SHARE: Final = 20


def measured(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def flush(path: Path) -> None:
    """Have the file on the disk for certain."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def leave_room(at: Path, coming: int) -> None:
    """Raises OSError (ENOSPC) where writing `coming` bytes more would take the last room on the disk of the folder `at`.

    A twentieth of it, at most 64 MB, is left: the live database mostly lies there too, and people's writes come first.
    """
    usage = shutil.disk_usage(at)
    if usage.free < coming + min(_SPARE_BYTES, usage.total // _SPARE_SHARE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Sparing(io.FileIO):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self._folder = path.parent

    def write(self, data: Any, /) -> int:
        leave_room(self._folder, len(data))
        return super().write(data)


def open_sparing(path: Path) -> BinaryIO:
    """A new file to write that leaves room on its disk, as `leave_room` says: its writes raise OSError before all is taken."""
    return io.BufferedWriter(_Sparing(path), _BLOCK)


def copy_steadily(source: Path, into: Path) -> None:
    """Copy a file and have it on the disk for certain, piece by piece: flushed all at once, it would hold up everybody's commits."""
    with source.open("rb") as read, open_sparing(into) as write:
        while piece := read.read(STEADY_BYTES):
            write.write(piece)
            write.flush()
            os.fsync(write.fileno())


def make_place(into: Path) -> None:
    """A new, private folder. Raises BackupError for one that exists and holds anything: nothing is ever restored over something."""
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise BackupError("refused", f"{into} holds something already. Name a folder that is new: nothing is restored over something.")
        into.chmod(0o700)
    except FileExistsError:
        raise BackupError("refused", f"{into} is a file. Name a folder that is new.") from None
    except OSError as error:
        raise BackupError("refused", f"{into} cannot be made: {error.strerror}.") from None


def place_of_scratch(data: Path, *, passable: bool) -> Path:
    """Where jobs restore, as `make_scratch` tells: the folder above theirs."""
    return _in_passing(data) if passable and os.geteuid() == 0 else data / "scratch"


def _in_passing(data: Path) -> Path:
    return Path(tempfile.gettempdir()) / f"keychest-scratch-{hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]}"


def make_scratch(data: Path, ref: str, *, passable: bool = False) -> Path:
    """A folder of one job's own under the data folder. What a killed job left in it is cleared away.

    `passable`: PostgreSQL's user restores below it, also when the job itself is root's. The data folder is closed to that user, so it
    is then a folder of the system's for temporary files, which may be passed through and not looked into.
    """
    apart = passable and os.geteuid() == 0
    home = place_of_scratch(data, passable=passable)
    folder = home / ref
    if folder.exists():
        shutil.rmtree(folder)
    for each in (home, folder):
        each.mkdir(mode=0o711 if apart else 0o700, parents=True, exist_ok=True)
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise BackupError("refused", f"{each} is not a folder of ours. Remove it, and try again.")
        each.chmod(0o711 if apart else 0o700)
    return folder


def drop_scratch(folder: Path) -> None:
    """The job is done with it: nothing of it stays, also not an empty place among the system's temporary files."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name != "scratch":
        with suppress(OSError):  # another job's lies there too
            folder.parent.rmdir()


def clear_scratch(data: Path, beginning: str) -> None:
    """Clear away what killed jobs left under names that begin so: plain copies of the database must not lie about."""
    for home in (data / "scratch", _in_passing(data)):
        for folder in home.glob(f"{beginning}*"):
            shutil.rmtree(folder, ignore_errors=True)


def refused(error: OSError) -> str:
    """What the disk under the data folder did not do, in a sentence."""
    more = "A backup or a drill needs room there for two more copies of the database. " if error.errno in FULL else ""
    return f"The data folder's disk cannot be worked on: {error.strerror or error}. {more}What was there before is as it was."
