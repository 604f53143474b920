"""Exports: made into the data folder by a worker, which anybody may kill at any moment, and removed when their day is over."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from core.actions.bundle_keys import signing_key
from core.actions.exports import TRIES, expire_exports, fail_export, note_export, record_export, take_export
from core.actions.policy import Actor
from core.exports.keys import BundleKeyError
from core.exports.write import SOFTWARE, Made, Whence, log_head, reading, write_bundle
from core.store.exports import Export
from jobs.context import Context

WORKER: Final = Actor(worker=True)
LEASE: Final = timedelta(minutes=3)
_SAID_EVERY_S: Final = 1.0
log = logging.getLogger("keychest.exports")


class _LostError(Exception):
    """Somebody else has the export in hand."""


def folder(data: Path) -> Path:
    """Where the files of exports lie."""
    return data / "exports"


def export(context: Context, export_id: int) -> None:
    """Make one export. What cannot be made is tried again, and told after the third time."""
    with context.sessions.writing() as session:
        taken = take_export(session, export_id, lease=LEASE, now=context.now())
        session.expunge_all()
    if taken is None:
        return
    if taken.claim > TRIES:
        with context.sessions.writing() as session:
            fail_export(session, WORKER, taken, error="Its worker died each time that it was begun.", now=context.now())
        return
    path = folder(context.data) / f"{taken.ref}.zip"
    try:
        made = _make(context, taken, path)
    except _LostError:
        log.info("another worker has the export in hand")
        return
    except (OSError, BundleKeyError) as error:
        log.warning("an export failed: %s", error)
        with context.sessions.writing() as session:
            why = f"The file cannot be written: {error.strerror}." if isinstance(error, OSError) else str(error)
            fail_export(session, WORKER, taken, error=why, now=context.now())
        return
    with context.sessions.writing() as session:
        kept = record_export(session, WORKER, taken, made=made, file=path.name, now=context.now())
    log.info("an export is %s", "whole" if kept else "whole, and another worker made it too")


def _make(context: Context, taken: Export, path: Path) -> Made:
    """The file appears whole, under its name, or not at all."""
    whence = _whence(context)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{taken.claim}.part")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file, reading(context.sessions) as session:
            say = _saying(context, taken)
            made = write_bundle(session, taken.account_id, file, whence=whence, history=taken.history, now=context.now(), say=say)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return made


def _saying(context: Context, taken: Export) -> Callable[[str, int, int], None]:
    """Tell the row how far it is, at most once a second. Raises _LostError."""
    said = 0.0

    def say(step: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said < _SAID_EVERY_S:
            return
        said = time.monotonic()
        with context.sessions.writing() as session:
            if not note_export(session, taken, step=step, done=done, total=total, lease=LEASE, now=context.now()):
                raise _LostError

    return say


def _whence(context: Context) -> Whence:
    with context.sessions.writing() as session:
        key = signing_key(session, WORKER, data=context.data, public_url=context.public_url, now=context.now())
    return Whence(context.public_url, SOFTWARE, key, log_head(context.log_folder))


def sweep_exports(context: Context) -> None:
    """Remove the files whose day is over, and those that killed workers left half."""
    with context.sessions.writing() as session:
        over = expire_exports(session, now=context.now())
    for name in over:
        for each in folder(context.data).glob(f"{name}*"):  # sealed copies too
            each.unlink(missing_ok=True)
    before = context.now().timestamp() - timedelta(days=2).total_seconds()
    for left in folder(context.data).glob("*"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < before and left.name.endswith(".part"):
                left.unlink()
