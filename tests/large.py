"""Databases that are as large as a test wants them, with rows that do not shrink when they are sealed."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from core.store.db import Sessions, make_engine
from core.store.observations import Certificate

_DER_BYTES = 8_192


def make_large(migrated: Path, path: Path, *, megabytes: int) -> Path:
    """A copy of a migrated SQLite file with about so much in it."""
    shutil.copy(migrated, path)
    sessions = Sessions(make_engine(f"sqlite:///{path}"))
    at = datetime.now(UTC)
    count = megabytes * 1_000_000 // (_DER_BYTES + 100)
    rows = [{"sha256": f"{number:064x}", "der": os.urandom(_DER_BYTES), "first_seen_at": at, "unreadable": []} for number in range(count)]
    with sessions.writing() as session:
        session.execute(sa.insert(Certificate), rows)
    with sessions.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    sessions.engine.dispose()
    return path
