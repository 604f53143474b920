"""Programs run as the owner of a folder, with a bound on their time and none of our environment: no secret of ours reaches them."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.backups.engine import BackupError

_PATH = "/usr/local/bin:/usr/bin:/bin"
_FAREWELL_S = 10.0  # what a program gets to put away its locks when its time is over


@dataclass(frozen=True, slots=True)
class Owner:
    """Who programs run as: `uid` and `gid` to step down to, both None where that is who we are."""

    uid: int | None
    gid: int | None

    @property
    def groups(self) -> list[int] | None:
        """No other group than its own, when there is somebody to step down to."""
        return None if self.uid is None else []

    def give(self, path: Path) -> None:
        """Make what we made theirs."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    @property
    def environment(self) -> dict[str, str]:
        """English words, which is what is looked for in them; a home, where ssh keeps its keys. PGBACKREST_* is not handed on."""
        try:
            home = pwd.getpwuid(os.geteuid() if self.uid is None else self.uid).pw_dir
        except KeyError:  # a container's number without a name
            home = "/"
        return {"PATH": _PATH, "LC_ALL": "C.UTF-8", "LANGUAGE": "C", "TZ": "UTC", "HOME": home}


def owner_of(folder: Path) -> Owner:
    """The owner of a folder; where it is gone, of the nearest one above it. Raises BackupError "refused" when we may not act as them.

    PostgreSQL runs for nobody else, and never as root.
    """
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        theirs, me = nearest.stat(), os.geteuid()
    except PermissionError:
        raise BackupError("refused", f"Whose {folder} is cannot be seen. Run this as the user of the database or as root.") from None
    if me == theirs.st_uid != 0:
        return Owner(None, None)
    if me == 0 and theirs.st_uid != 0:
        return Owner(theirs.st_uid, theirs.st_gid)
    if me != 0 and nearest != folder:  # a new machine: what is restored becomes ours
        return Owner(None, None)
    if theirs.st_uid == 0:
        raise BackupError(
            "refused", f"{nearest} belongs to root, as whom PostgreSQL does not run. Give it to the user of the database first."
        )
    raise BackupError("refused", f"{folder} belongs to {_called(theirs.st_uid)}. Run this as {_called(theirs.st_uid)} or as root.")


def _called(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with the number {uid}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: its exit code and its words."""

    code: int
    out: str
    err: str


def run(owner: Owner, argv: Sequence[str], *, within_s: float) -> Ran:
    """Run a program to its end. Raises BackupError "tool" when it is not there, or takes longer: then it is stopped with its children."""
    try:
        program = subprocess.Popen(  # noqa: S603 - no shell, and the words are ours
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=owner.environment,
            user=owner.uid,
            group=owner.gid,
            extra_groups=owner.groups,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise BackupError("tool", f"{argv[0]} is not installed.") from None
    with program:
        try:
            out, err = program.communicate(timeout=within_s)
        except BaseException as error:
            _stop(program)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BackupError("tool", f"{Path(argv[0]).name} did not end within {within_s:g} s and was stopped.") from None
            raise
    return Ran(program.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _stop(program: subprocess.Popen[bytes]) -> None:
    for by in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.communicate(timeout=_FAREWELL_S)
            return
