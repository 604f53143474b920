"""A moment that is in the log and in a snapshot alike: what the snapshot sees is what recovery up to the named point brings back.

A writer keeps its table lock until its rows are visible to others. Who holds SHARE locks on all tables therefore sees all that
was acknowledged, and nothing more is written until they are let go: a snapshot and a restore point made in between are the same
moment. Writers wait for as long as that takes, some milliseconds, and at most for `_PATIENCE_MS` when a lock is not to be had.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors, sql

from core.backups.engine import BackupError
from core.backups.manifest import Table
from core.backups.pg_tables import Found, count_tables, dial, find_tables, take_snapshot, told

_PATIENCE_MS: Final = 200
_TRIES_S: Final = 60.0
_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_FUNCTIONS: Final = ("pg_create_restore_point(text)", "pg_switch_wal()")
_BUSY: Final = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected)
_HOLDERS: Final = """
SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'a session'), coalesce(a.state, 'working')
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation AND c.relkind = 'r'
WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database() AND c.relnamespace <> 'pg_catalog'::regnamespace
  AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
LIMIT 3
"""


@dataclass(frozen=True, slots=True)
class Point:
    """The moment: `segment` is the WAL file that its restore point stands in, `locked_s` how long writers waited at most."""

    name: str
    at: datetime
    segment: str
    locked_s: float
    tables: tuple[Found, ...]
    reader: psycopg.Connection[Any]
    locker: psycopg.Connection[Any]

    def count(self) -> tuple[Table, ...]:
        """Counts and hashes as of the moment."""
        return count_tables(self.reader, self.tables)

    def ask(self, what: LiteralString, *, table: str) -> Any:
        """An expression over a table as of the moment; None where the search path knows no such table."""
        found = next((found for found in self.tables if found.name == table), None)
        if found is None:
            return None
        row = self.reader.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(what), found.only)).fetchone()
        return row[0] if row else None

    def archived(self, *, within_s: float) -> bool:
        """Whether the server says in time that it handed over the point's WAL file."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            row = self.locker.execute("SELECT last_archived_wal FROM pg_stat_archiver").fetchone()
            if row and row[0] and row[0][:8] == self.segment[:8] and row[0][:24] >= self.segment:
                return True
            time.sleep(0.05)
        return False

    def failure(self) -> str:
        """What the server last failed to hand over."""
        row = self.locker.execute(
            "SELECT last_failed_wal, last_failed_time FROM pg_stat_archiver WHERE last_failed_wal IS NOT NULL"
        ).fetchone()
        return f"The server last failed to archive {row[0]} at {row[1]:%Y-%m-%d %H:%M:%S}." if row else ""


def require_means(url: str) -> None:
    """Raise BackupError "refused" where no point could be made, or none be restored, before anything is copied.

    Tablespaces lie outside the data directory: a restored copy would have to put them elsewhere, and is one folder.
    """
    with dial(url) as connection, told("The database cannot be asked"):
        for function in _FUNCTIONS:
            row = connection.execute("SELECT has_function_privilege(%s, 'EXECUTE'), current_user", (function,)).fetchone()
            if row and not row[0]:
                raise BackupError(
                    "refused", f"{row[1]} may not call {function}: GRANT EXECUTE ON FUNCTION {function} TO {row[1]}, as superuser."
                )
        spaces = connection.execute("SELECT spcname FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')").fetchall()
    if spaces:
        raise BackupError("refused", f"The cluster has the tablespace {spaces[0][0]}: only clusters without tablespaces are backed up.")


@contextmanager
def make_point(url: str, now: Callable[[], datetime]) -> Iterator[Point]:
    """A moment to count in, open for as long as the block runs; its WAL file is closed, so that it can be archived. Raises BackupError.

    The login must own the tables (or have UPDATE on them), and have EXECUTE on pg_create_restore_point(text) and pg_switch_wal().
    """
    with dial(url) as locker, dial(url) as reader, told("The point cannot be made"):
        until = time.monotonic() + _TRIES_S
        tries = 0
        while (point := _try(locker, reader, now)) is None:
            if time.monotonic() > until:
                raise BackupError(
                    "refused", f"For {_TRIES_S:g} s somebody was writing to a table all the time{_holders(locker)}. Try again later."
                )
            time.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1
        locker.execute("SELECT pg_switch_wal()")
        yield point


def _try(locker: psycopg.Connection[Any], reader: psycopg.Connection[Any], now: Callable[[], datetime]) -> Point | None:
    """None when a lock was not to be had, or a table came or went meanwhile."""
    name = f"kc-{now().astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    tables = find_tables(locker)
    try:
        locker.execute("BEGIN")
        # lock_timeout is for each table, statement_timeout for all of them: those locked first make writers wait already
        locker.execute(
            "SELECT set_config(name, %s, true) FROM unnest(ARRAY['lock_timeout', 'statement_timeout']) name", (f"{_PATIENCE_MS}ms",)
        )
        began = time.monotonic()
        if tables:
            locker.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(table.only for table in tables)))
        take_snapshot(reader, tables, patience_ms=_PATIENCE_MS)
        row = locker.execute("SELECT pg_walfile_name(pg_create_restore_point(%s))", (name,)).fetchone()
        at = now()
        locker.execute("COMMIT")
        locked_s = time.monotonic() - began
    except (*_BUSY, errors.UndefinedTable, errors.InvalidSchemaName):
        locker.execute("ROLLBACK")
        reader.execute("ROLLBACK")
        return None
    if find_tables(reader) != tables:
        reader.execute("ROLLBACK")
        return None
    return Point(name, at, str(row[0]) if row else "", locked_s, tables, reader, locker)


def _holders(locker: psycopg.Connection[Any]) -> str:
    """Who is in the way, as far as the login may see it."""
    rows = locker.execute(_HOLDERS.encode()).fetchall()
    return f" ({'; '.join(f'{name}, pid {pid}, {state}' for pid, name, state in rows)})" if rows else ""
