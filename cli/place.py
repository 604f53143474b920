"""Where an installation lives: its settings as the terminal reads them, its data folder, and the claim of one `up` on it."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.words import MISCONFIGURED, UNAVAILABLE, Sorry
from config import SettingError, Settings

PROJECT = Path(__file__).resolve().parents[1]
_LOCK = "up.lock"


def settings(environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Settings with an absolute data folder: what was given counts from where the person stands, the default from the project."""
    try:
        found = Settings.from_environment(os.environ if environ is None else environ, **given)
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    named = given.get("data") is not None or (os.environ if environ is None else environ).get("KEYCHEST_DATA")
    return dataclasses.replace(found, data=found.data.absolute() if named else PROJECT / found.data)


def make_private(data: Path) -> None:
    """The data folder, with mode 0700. Refuses a folder of somebody else's, or one with other things in it that others may read."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data.stat()
        ours = (data / _LOCK).exists() or not any(data.iterdir())
        if found.st_mode & 0o077 and not ours:
            raise Sorry(f"{data} can be read by other users and holds other things. Run chmod 700 on it, or choose another with --data.")
        data.chmod(0o700)
    except OSError as error:
        raise Sorry(f"The data folder {data} cannot be used: {error.strerror}. Choose another with --data.", UNAVAILABLE) from None


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """One `up` on a data folder at a time. The lock is the kernel's: it ends with this process, however that ends."""
    descriptor = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "of unknown number"
            raise Sorry(
                f"KeyChest is running on {data} already (process {owner}). Stop it, or choose another folder with --data.",
                UNAVAILABLE,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
