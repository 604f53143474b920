"""What bringing names in costs here, beside writing the same rows plainly. Prints ratios; nothing passes or fails.

The import half of `./keychest bench exports`: a table of as many names, applied to an empty account in one transaction as a worker does it;
then the very rows that came of it, written into another empty database by COPY (PostgreSQL) or executemany (SQLite). Goal: at most 5 times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from bench.account import Seeder
from core.actions.import_plan import Choices
from core.actions.imports import apply_import, hand_in
from core.actions.policy import Actor
from core.exports.content import open_content
from core.store import schema
from core.store.base import Base
from core.store.db import Sessions, make_engine
from core.store.imported import import_by_ref
from tests.make import make_actor

TABLES: Final = ("endpoints", "schedule", "domains", "watches")
AT_ONCE: Final = 2_000


def measure(engine: str, names: int, fresh: Callable[[str], AbstractContextManager[tuple[str, Path]]]) -> None:
    """Print what it costs. `fresh` gives an empty database and a folder."""
    now = datetime.now(UTC)
    with fresh(engine) as (url, folder), fresh(engine) as (other, _):
        sessions, plain = Sessions(make_engine(url)), Sessions(make_engine(other))
        for each in (sessions, plain):
            schema.upgrade(each.engine)
        path = folder / "names.csv"
        path.write_text("name,port\n" + "".join(f"host{number}.example.org,443\n" for number in range(names)))
        with sessions.writing() as session:
            actor = make_actor(session, now=now)
        with plain.writing() as session:
            make_actor(session, now=now)
        began = time.perf_counter()
        _apply(sessions, actor, path, now)
        applied = time.perf_counter() - began
        rows = {table: _rows(sessions, table) for table in TABLES}
        began = time.perf_counter()
        _write(plain, rows, now)
        written = time.perf_counter() - began
        for each in (sessions, plain):
            each.engine.dispose()
    count = sum(len(each) for each in rows.values())
    print(
        f"{engine}: {names:,} names imported in {applied:.1f} s, their {count:,} rows written plainly in {written:.1f} s: "
        f"{applied / written:.2f} times",
        flush=True,
    )


def _apply(sessions: Sessions, actor: Actor, path: Path, now: datetime) -> None:
    with open_content(path, own_vkeys=()) as content, sessions.writing() as session:
        ref = hand_in(session, actor, name=path.name, size=path.stat().st_size, sha256="0" * 64, now=now)
        row = import_by_ref(session, actor.account_id or 0, ref)
        if row is None:
            raise RuntimeError("the import is gone")
        apply_import(session, actor, row, content, Choices(), private_ranges=False, now=now)


def _rows(sessions: Sessions, table: str) -> list[dict[str, Any]]:
    with sessions.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(Base.metadata.tables[table])).mappings()]


def _write(sessions: Sessions, rows: dict[str, list[dict[str, Any]]], now: datetime) -> None:
    seeder = Seeder(sessions, now)
    with sessions.engine.connect() as connection, connection.execution_options(begin="IMMEDIATE").begin():
        for table, all_of_it in rows.items():
            for start in range(0, len(all_of_it), AT_ONCE):
                seeder.put(connection, table, all_of_it[start : start + AT_ONCE])
