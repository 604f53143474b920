"""Where an installation lives: its settings as the terminal reads them, its data folder, and the claim of one `up` on it."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cli.words import MISCONFIGURED, UNAVAILABLE, Sorry
from config import SettingError, Settings

PROJECT = Path(__file__).resolve().parents[1]
LOCK = "up.lock"
_ADDRESS = "address"

data_option = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for everything that KeyChest writes.")
"""`--data DIR`, for every verb that looks into the data folder. It wins over KEYCHEST_DATA."""


def settings(environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Settings with an absolute data folder: what was given counts from where the person stands, the default from the project."""
    try:
        found = Settings.from_environment(os.environ if environ is None else environ, **given)
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    named = given.get("data") is not None or (os.environ if environ is None else environ).get("KEYCHEST_DATA")
    return dataclasses.replace(found, data=found.data.absolute() if named else PROJECT / found.data)


def environment(settings: Settings) -> dict[str, str]:
    """What a process that we start reads its settings from: ours, with what the command line changed."""
    return dict(os.environ) | {
        "KEYCHEST_DATA": str(settings.data),
        "KEYCHEST_HOST": settings.host,
        "KEYCHEST_PORT": str(settings.port),
        "KEYCHEST_ENVIRONMENT": settings.environment,
        "PYTHONPATH": str(PROJECT),
        "PYTHONSAFEPATH": "1",  # modules come from the project, never from the folder somebody stands in
        "PYTHONUNBUFFERED": "1",
    }


def command(words: str, settings: Settings, data: Path | None) -> str:
    """What to type for a verb to find the same installation, with --data where that was given."""
    return f"./keychest {words} --data {shlex.quote(str(settings.data))}" if data else f"./keychest {words}"


def keep_address(settings: Settings) -> None:
    """Leave in the data folder where the portal is, for links that are made while it runs on a port of its own choice."""
    fresh = settings.data / f"{_ADDRESS}.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{settings.public_url}\n")
    fresh.replace(settings.data / _ADDRESS)


def public_url(settings: Settings) -> str:
    """What links begin with: KEYCHEST_BASE_URL, else where `up` was last, else what the settings say."""
    if settings.base_url:
        return settings.base_url
    try:
        return (settings.data / _ADDRESS).read_text().strip() or settings.public_url
    except FileNotFoundError:
        return settings.public_url


def make_private(data: Path) -> None:
    """The data folder, with mode 0700. Refuses a folder of somebody else's, or one with other things in it that others may read."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data.stat()
        ours = (data / LOCK).exists() or not any(data.iterdir())
        if found.st_mode & 0o077 and not ours:
            raise Sorry(f"{data} can be read by other users and holds other things. Run chmod 700 on it, or choose another with --data.")
        data.chmod(0o700)
    except OSError as error:
        raise Sorry(f"The data folder {data} cannot be used: {error.strerror}. Choose another with --data.", UNAVAILABLE) from None


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """One `up` on a data folder at a time. The lock is the kernel's: it ends with this process, however that ends."""
    descriptor = os.open(data / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
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
