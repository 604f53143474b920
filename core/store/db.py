"""One way to reach the database: engines whose connections are set up alike, and sessions that read or write.

SQLite runs in WAL with `synchronous=FULL`, since an acknowledged row must survive a power cut. A writing transaction begins
with BEGIN IMMEDIATE: a deferred one that reads first and then writes fails at once when another writer was faster.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Session

_SQLITE = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000", "recursive_triggers=ON")
CHUNK = 500
"""How many values one question may list: far below what either engine binds."""
_ROWS = 2_000
"""How many rows go into one statement on PostgreSQL."""
WRITING = {"begin": "IMMEDIATE"}
"""Execution options of a transaction that will write."""


Each = TypeVar("Each")


def chunks(of: Sequence[Each]) -> Iterator[Sequence[Each]]:
    """CHUNK at a time."""
    return (of[start : start + CHUNK] for start in range(0, len(of), CHUNK))


def make_engine(url: str) -> sa.Engine:
    """An engine for a SQLAlchemy URL. It dials nothing until it is used."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": 15})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = "-c timezone=UTC -c lock_timeout=15000"
    return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5, "options": options})


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    for pragma in _SQLITE:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hands out sessions on one engine. Actions get a session and never make or commit one."""

    engine: sa.Engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for questions. What it changed is thrown away."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options=WRITING)
            yield session


def upsert(session: Session, table: type[DeclarativeBase]) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of the session's engine: both spell it alike."""
    return sqlalchemy.dialects.postgresql.insert(table) if postgresql(session) else sqlalchemy.dialects.sqlite.insert(table)


def insert_missing(session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows that no unique index refuses; those that are there already stay as they are. All have the same columns."""
    if rows:
        session.flush()
        _insert(session, upsert(session, table).on_conflict_do_nothing(), table, rows)


def insert_many(session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, thousands as one statement. All have the same columns; what is left out of all gets its default."""
    if rows:
        session.flush()
        _insert(session, upsert(session, table), table, rows)


def _insert(session: Session, insert: Any, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    """Past the ORM. PostgreSQL gets a column as an array: a statement with thousands of values takes it and its driver long to read."""
    if not postgresql(session):
        session.connection().execute(insert, list(rows))
        return
    for start in range(0, len(rows), _ROWS):
        _insert_arrays(session, insert, table, rows[start : start + _ROWS])


def _insert_arrays(session: Session, insert: Any, table: type[DeclarativeBase], rows: Sequence[Mapping[str, Any]]) -> None:
    arrays = {name: sa.literal([row[name] for row in rows], _array_of(table.__table__.c[name].type)) for name in rows[0]}
    given = sa.func.unnest(*arrays.values()).table_valued(*arrays).render_derived(name="given")
    session.connection().execute(insert.from_select(list(arrays), sa.select(*(given.c[name] for name in arrays))))


def _array_of(kind: Any) -> ARRAY[Any]:
    """Text without a length: told to be VARCHAR(16), a longer one would be cut off, where the column itself refuses it."""
    return ARRAY(sa.Text() if isinstance(kind, sa.String) else kind, dimensions=1)


def postgresql(session: Session) -> bool:
    """Whether rows can be locked one by one."""
    return session.get_bind().dialect.name == "postgresql"


def rowcount(result: Any) -> int:
    """How many rows a statement changed."""
    count: int = result.rowcount
    return count
