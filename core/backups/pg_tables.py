"""What a PostgreSQL database holds: the rows of every ordinary table counted and hashed in one snapshot, streamed, so memory stays flat.

Ordinary tables of all schemas but the system's, partitions one by one. Not looked at: sequences, large objects, what views
make of tables. An unlogged table is looked at, and comes back empty from any backup: the comparison says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import errors, sql

from core.backups.engine import BackupError, Trouble
from core.backups.manifest import Table

_DIAL_S = 5
_TABLE_MS = 4 * 3600 * 1000
_OUTPUT: Final = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "row_security": "off",  # a policy that hides rows is an error, not a smaller count
    "statement_timeout": str(_TABLE_MS),
    "idle_in_transaction_session_timeout": "0",
}
"""What a login's or a database's own settings might change about the text of a row, and how long one table may take."""
_TABLES: Final = r"""
SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid), coalesce((
    SELECT array_agg(a.attname::text ORDER BY k.place)
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2
"""
_TROUBLES: Final[tuple[tuple[type[psycopg.Error], Trouble], ...]] = (
    (errors.DiskFull, "full"),
    (errors.DataCorrupted, "damaged"),
    (errors.IndexCorrupted, "damaged"),
    (errors.InsufficientPrivilege, "refused"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """An ordinary table: `name` as people say it, with its schema where that is not on the search path; `key`: its primary key."""

    name: str
    schema: str
    relation: str
    key: tuple[str, ...]

    @property
    def only(self) -> sql.Composable:
        """The table without those that inherit from it, quoted."""
        return sql.SQL("ONLY {}").format(sql.Identifier(self.schema, self.relation))


def dial(url: str) -> psycopg.Connection[Any]:
    """A connection of its own to the database of a SQLAlchemy URL, without a transaction. Raises BackupError."""
    made = sa.make_url(url)
    words, options = made.get_dialect()().create_connect_args(made)
    with told("The database cannot be reached"):
        return psycopg.connect(*words, **{"connect_timeout": _DIAL_S, "application_name": "keychest-backup", **options}, autocommit=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """What the database refuses becomes a BackupError that begins with `what`."""
    try:
        yield
    except psycopg.Error as error:
        words = " ".join(str(error).split()) or type(error).__name__
        absent = re.search(r'FATAL: +database "[^"]*" does not exist', words)  # psycopg knows no code of a login that failed
        trouble: Trouble = next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), "tool")
        raise BackupError("wrong database" if absent else trouble, f"{what}: {words}") from error


def find_tables(connection: psycopg.Connection[Any]) -> tuple[Found, ...]:
    """All ordinary tables, by schema and name, as the connection's search path sees them."""
    rows = connection.execute(_TABLES.encode()).fetchall()
    return tuple(Found(name if seen else f"{schema}.{name}", schema, name, tuple(key)) for schema, name, seen, key in rows)


def take_snapshot(connection: psycopg.Connection[Any], tables: Sequence[Found], *, patience_ms: int) -> None:
    """Begin a transaction that sees what is committed now, and go on seeing it: nobody can drop or truncate these tables until it ends.

    The lock is what keeps TRUNCATE away, which empties a table for older snapshots too. It is in no writer's way.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{patience_ms}ms",))
    if tables:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(table.only for table in tables)))
    connection.execute("SELECT pg_current_snapshot()")


def count_tables(connection: psycopg.Connection[Any], tables: Sequence[Found]) -> tuple[Table, ...]:
    """Count and hash tables in the connection's transaction: every row as PostgreSQL writes it, in the order of the primary key.

    The key's order is that of the database's collation, which the index has; without a key rows are sorted by their bytes.
    """
    for name, value in _OUTPUT.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    connection.execute("SELECT set_config('search_path', '', true)")  # names of types and tables in values are written in full
    return tuple(sorted((_counted(connection, table) for table in tables), key=lambda table: table.name))


def _counted(connection: psycopg.Connection[Any], table: Found) -> Table:
    whole = sql.SQL("(t.*)::text")  # never a column that is called t
    by_bytes = sql.SQL('{} COLLATE "C"').format(whole)
    order = sql.SQL(", ").join(sql.Identifier("t", column) for column in table.key) if table.key else by_bytes
    query = sql.SQL("COPY (SELECT {} FROM {} AS t ORDER BY {}) TO STDOUT").format(whole, table.only, order)
    digest = hashlib.sha256()
    with connection.cursor() as cursor:
        with cursor.copy(query) as copy:
            for row in copy:
                digest.update(row)
        return Table(table.name, cursor.rowcount, digest.hexdigest())


def tables_of(url: str) -> tuple[Table, ...]:
    """Counts and hashes of all tables of any database. Raises BackupError."""
    with dial(url) as connection, told("The tables cannot be counted"):
        found = find_tables(connection)
        take_snapshot(connection, found, patience_ms=60_000)
        counted = count_tables(connection, found)
        connection.execute("COMMIT")
    return counted
