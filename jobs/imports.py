"""Files that people handed in: looked through and applied here, since they may be large, and removed when they are done with."""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from core.actions.bundle_keys import own_vkeys
from core.actions.import_plan import Item
from core.actions.import_work import apply_wanted, drop_old_imports, hold_import, preview_import, record_preview, refuse_import, take_import
from core.actions.policy import Actor, NotAllowed, Refused
from core.exports.archive import BundleRefused
from core.exports.content import Content, open_content
from core.exports.keys import BundleKeyError
from core.store.accounts import accounts_allowed
from core.store.imports import Import
from jobs.context import Context
from jobs.lease import renewed

WORKER: Final = Actor(worker=True)
LEASE: Final = timedelta(minutes=3)
TRIES: Final = 3
_AT_ONCE: Final = 500
log = logging.getLogger("keychest.imports")


def folder(data: Path) -> Path:
    """Where files that were handed in lie, each under its reference; what each would do lies beside it."""
    return data / "imports"


def bring_in(context: Context, import_id: int) -> None:
    """Look through one file, or apply it. A file that cannot be taken is told why; a worker that dies leaves it to the next one."""
    with context.sessions.writing() as session:
        row = take_import(session, import_id, lease=LEASE, now=context.now())
        session.expunge_all()
    if row is None:
        return
    if row.claim > 2 * TRIES:
        _refuse(context, row, "Reading this file failed several times. Nothing was changed. Bring it in parts.")
        return
    path = folder(context.data) / row.ref
    try:
        with context.sessions.reading() as session:
            own = own_vkeys(session, context.data)
        with _held(context, row), open_content(path, own_vkeys=own) as content:
            _apply(context, row, content) if row.state == "applying" else _look(context, row, content, path)
    except (BundleRefused, Refused, NotAllowed, BundleKeyError) as error:
        _refuse(context, row, str(error))
    except OSError as error:
        log.warning("a file that was handed in cannot be read: %s", error)
        _refuse(context, row, "The file is not here any more. Nothing was changed. Hand it in again.")


def _look(context: Context, row: Import, content: Content, path: Path) -> None:
    with context.sessions.reading() as session:
        preview = preview_import(session, row, content, now=context.now())
    put_items(path, preview.plan.items)
    with context.sessions.writing() as session:
        record_preview(session, WORKER, row, content, preview)


def _apply(context: Context, row: Import, content: Content) -> None:
    with context.sessions.writing() as session:
        allowed = accounts_allowed(session, context.scan_allow_accounts) if context.scan_allow else set()
        done = apply_wanted(session, row, content, allowed_accounts=sorted(allowed), now=context.now())
    if done is not None:
        put_items(folder(context.data) / row.ref, done.plan.items)
        log.info("a file was brought into an account: %s", done.plan.counts)


def _refuse(context: Context, row: Import, why: str) -> None:
    with context.sessions.writing() as session:
        refuse_import(session, WORKER, row, error=why)


def _held(context: Context, row: Import) -> AbstractContextManager[None]:
    return renewed(context, lambda session: hold_import(session, row, lease=LEASE, now=context.now()))


def items_of(path: Path) -> Path:
    """Where what a file would do, or did, lies: a line for each name."""
    return path.with_name(f"{path.name}.items")


def put_items(path: Path, items: list[Item]) -> None:
    """Write the lines, worst first: what was refused, then what changes. The file appears whole."""
    order = {"refused": 0, "changed": 1, "added": 2, "skipped": 3}
    fresh = path.with_name(f"{path.name}.items.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for item in sorted(items, key=lambda item: order[item.outcome]):
            file.write(json.dumps([item.outcome, item.name, item.why], ensure_ascii=False) + "\n")
    fresh.replace(items_of(path))


def sweep_imports(context: Context) -> None:
    """Remove files that are done with. What each did is kept for a month beside the row."""
    here = sorted(folder(context.data).glob("*"))
    hour_ago = context.now().timestamp() - timedelta(hours=1).total_seconds()
    files = [each.name for each in here if "." not in each.name and each.stat().st_mtime < hour_ago][:_AT_ONCE]
    with context.sessions.writing() as session:
        over = drop_old_imports(session, files, now=context.now())
    for ref in over:
        (folder(context.data) / ref).unlink(missing_ok=True)
    before = context.now().timestamp() - timedelta(days=31).total_seconds()
    for left in here:
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < before:
                left.unlink()
