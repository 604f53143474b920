"""SQLite: the library's own online backup, inside the one read transaction in which the rows are counted and hashed.

In WAL mode a reader holds up no writer: what is written meanwhile goes on, and is not in the copy.
Source: sqlite.org/backup.html, sqlite.org/isolation.html.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from core.backups.engine import BackupError, Taken
from core.backups.files import FULL, copy_steadily, flush, leave_room, make_place, measured
from core.backups.manifest import Manifest, Table

FILE: Final = "keychest.db"
_HEAD: Final = (("SELECT sum(size) FROM audit_logs", "audit_logs"), ("SELECT count(*) FROM audit_outbox", "audit_outbox"))
_PAGES = 4_096  # copied at a time: 16 MB, so that an interrupt is heard


@dataclass(frozen=True, slots=True)
class Sqlite:
    """The engine for a database in one file."""

    live: Path
    name: str = "sqlite"

    def take(self, scratch: Path, *, now: Callable[[], datetime], full: bool = True) -> Taken:  # noqa: ARG002 - a copy is always full
        """Copy the file as it stands at one point, and count and hash what stood there. The copy in `scratch` is flushed to the disk."""
        copy = scratch / FILE
        with _told("copied"), closing(_connect(self.live, read_only=True)) as source:
            source.execute("PRAGMA busy_timeout=15000")
            at = now()  # before the snapshot: what was acknowledged by then is in it
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # here the snapshot is taken
            page_bytes = int(source.execute("PRAGMA page_size").fetchone()[0])

            def step(_status: int, left: int, _all: int) -> None:
                flush(copy)
                leave_room(scratch, min(left, _PAGES) * page_bytes)

            leave_room(scratch, min(self.live.stat().st_size, _PAGES * page_bytes))
            with closing(sqlite3.connect(copy, isolation_level=None)) as into:
                into.execute("PRAGMA synchronous=OFF")  # flushed here: all at once would hold up the live database's commits
                source.backup(into, pages=_PAGES, progress=step)
            manifest = _manifest(source, at)
            source.execute("ROLLBACK")
        flush(copy)
        size, digest = measured(copy)
        return Taken(_with_file(manifest, size, digest), copy)

    def restore(self, manifest: Manifest, copy: Path | None, into: Path) -> None:
        """Put the file of a backup into a new folder, whole or not at all, after its SHA-256 was compared."""
        make_place(into)
        if copy is None or not copy.is_file():
            raise BackupError("missing", "There is no file to restore from.")
        with _told("restored"):
            size, digest = measured(copy)
            if manifest.plain_bytes and size < manifest.plain_bytes:
                raise BackupError("truncated", f"The database file ends after {size:,} of {manifest.plain_bytes:,} bytes.")
            if manifest.plain_sha256 and digest != manifest.plain_sha256:
                raise BackupError("damaged", "The database file is not the one that was backed up: its SHA-256 is another.")
            fresh = into / f".{FILE}.partial"
            copy_steadily(copy, fresh)
            fresh.chmod(0o600)
            fresh.replace(into / FILE)

    @contextmanager
    def opened(self, into: Path) -> Iterator[str]:
        """The URL of the file that lies in `into`. No process is needed for it."""
        path = into / FILE
        with _told("opened"), closing(_connect(path, read_only=False)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise BackupError("damaged", f"SQLite says of the restored file: {found[0]}.")
        yield f"sqlite:///{path}"

    def tidy(self, kept: Collection[str]) -> None:
        """Nothing: there is no repository beside the targets."""

    def tables(self, url: str) -> tuple[Table, ...]:
        """Counts and hashes of a file's tables."""
        with _told("read"), closing(_connect(Path(url.removeprefix("sqlite:///")), read_only=False)) as connection:
            connection.execute("BEGIN")
            return _tables(connection)


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not path.is_file():
        raise BackupError("missing", f"There is no database at {path}.")
    mode = "?mode=ro" if read_only else "?mode=rw"
    return sqlite3.connect(f"{path.absolute().as_uri()}{mode}", uri=True, isolation_level=None, timeout=15)


@contextmanager
def _told(verb: str) -> Iterator[None]:
    """What SQLite and the disk refuse, in a sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error)
        raise BackupError("full" if full else "damaged", f"The database could not be {verb}: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise BackupError("damaged", f"The database could not be {verb}: {error}.") from error
    except OSError as error:
        raise BackupError("full" if error.errno in FULL else "refused", f"The database could not be {verb}: {error.strerror}.") from error


def _manifest(connection: sqlite3.Connection, at: datetime) -> Manifest:
    tables = _tables(connection)
    names = {table.name for table in tables}

    def asked(question: str, table: str) -> str:
        row = connection.execute(question).fetchone() if table in names else None
        return str(row[0]) if row and row[0] is not None else ""

    return Manifest(
        engine="sqlite",
        at=at,
        installation=asked("SELECT ref FROM installation", "installation"),
        revision=asked("SELECT version_num FROM alembic_version", "alembic_version"),
        head=sum(int(asked(question, table) or 0) for question, table in _HEAD),
        accounts=int(asked("SELECT count(*) FROM accounts WHERE deleted_at IS NULL", "accounts") or 0),
        tables=tables,
    )


def _with_file(manifest: Manifest, size: int, digest: str) -> Manifest:
    return Manifest.from_json(manifest.to_json() | {"plain_bytes": size, "plain_sha256": digest})


def _tables(connection: sqlite3.Connection) -> tuple[Table, ...]:
    """Every table, in the order of its key. Rows are hashed one by one, so that memory stays flat."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return tuple(_table(connection, name) for name in names if not name.startswith("sqlite_"))


def _table(connection: sqlite3.Connection, name: str) -> Table:
    quoted = _quoted(name)
    columns = connection.execute(f"PRAGMA table_info({quoted})").fetchall()
    keys = [_quoted(column[1]) for column in sorted(columns, key=lambda column: column[5]) if column[5]] or ["rowid"]
    rows, digest = 0, hashlib.sha256()
    for row in connection.execute(f"SELECT * FROM {quoted} ORDER BY {', '.join(keys)}"):  # noqa: S608 - names from the schema itself, quoted
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
        rows += 1
    return Table(name, rows, digest.hexdigest())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
