"""Entries are only ever added, whoever asks. Who takes the triggers off is seen by the next start, and by the verifier."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from audit.keeper import Keeper
from audit.sequencer import Sequencer
from audit.tables import LogEntry
from audit.tiles import bundle
from core.store.db import Sessions, make_engine
from tests.postgres import Postgres
from tests.turns import NOW, ORIGIN, tell, trouble, verified

BOTH = (
    "UPDATE audit_entries SET body = body",
    "UPDATE audit_entries SET entry_index = 9 WHERE entry_index = 0",
    "DELETE FROM audit_entries WHERE entry_index = 3",
    "INSERT INTO audit_entries VALUES (1, 0, '') ON CONFLICT (log, entry_index) DO UPDATE SET body = ''",
)
SQLITE = (
    *BOTH,
    "INSERT OR REPLACE INTO audit_entries VALUES (1, 0, x'00')",
    "REPLACE INTO audit_entries (rowid, log, entry_index, body) VALUES (2, 1, 999, x'00')",
    "INSERT OR REPLACE INTO audit_entries (rowid, log, entry_index, body) SELECT rowid, 1, 999, x'00' FROM audit_entries",
    "UPDATE OR REPLACE audit_entries SET rowid = 2 WHERE rowid = 1",
)
POSTGRESQL = (
    *BOTH,
    "TRUNCATE audit_entries",
    "TRUNCATE audit_logs CASCADE",
    "MERGE INTO audit_entries USING (SELECT 0 AS i) AS one ON entry_index = i WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM audit_entries RETURNING 1) SELECT count(*) FROM gone",
)


def bodies(sessions: Sessions) -> list[bytes]:
    with sessions.reading() as session:
        return list(session.scalars(sa.select(LogEntry.body).order_by(LogEntry.log, LogEntry.index)))


def test_no_statement_changes_an_entry_whoever_has_the_file(sqlite_url: str, keeper: Keeper) -> None:
    sessions = Sessions(make_engine(sqlite_url))
    tell(sessions, 5)
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    before = bodies(sessions)
    for statement in SQLITE:
        with pytest.raises(DBAPIError, match="only ever added"), sessions.writing() as session:
            session.execute(sa.text(statement))
        with closing(sqlite3.connect(str(sessions.engine.url.database))) as raw, pytest.raises(sqlite3.DatabaseError, match="only ever"):
            raw.execute(statement)
    assert bodies(sessions) == before
    sessions.engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("replica", [False, True], ids=["as itself", "as a replica"])
def test_no_statement_changes_an_entry_on_postgresql_not_even_a_superusers(replica: bool, postgres: Postgres, keeper: Keeper) -> None:
    """A superuser may set session_replication_role, which turns common triggers off; these are on in every role."""
    url = postgres.database()
    sessions = Sessions(make_engine(url))
    tell(sessions, 5)
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    before = bodies(sessions)
    for statement in POSTGRESQL:
        with sessions.engine.connect() as connection:
            if replica:
                connection.exec_driver_sql("SET session_replication_role = replica")
            with pytest.raises(DBAPIError, match="only ever added"):
                connection.exec_driver_sql(statement)
            connection.invalidate()
    assert bodies(sessions) == before
    sessions.engine.dispose()
    postgres.drop(url)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["changed", "taken away", "the last one taken away", "added"])
def test_who_takes_the_triggers_off_is_seen_by_the_next_start_and_by_strangers(what: str, sessions: Sessions, keeper: Keeper) -> None:
    """What a superuser, the tables' owner, or whoever has an SQLite file can do."""
    tell(sessions, 5)
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    assert verified(keeper).returncode == 0
    done = {
        "changed": "UPDATE audit_entries SET body = (SELECT body FROM audit_entries WHERE entry_index = 4) WHERE entry_index = 3",
        "taken away": "DELETE FROM audit_entries WHERE entry_index = 3",
        "the last one taken away": "DELETE FROM audit_entries WHERE entry_index = 5",
        "added": "INSERT INTO audit_entries SELECT log, 6, body FROM audit_entries WHERE entry_index = 3",
    }[what]
    with sessions.writing() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(sa.text("DROP TRIGGER audit_entries_stay ON audit_entries"))
        else:
            for name in ("update", "delete", "replace"):
                session.execute(sa.text(f"DROP TRIGGER audit_entries_{name}"))
        session.execute(sa.text(done))
    tell(sessions, 1)
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW + timedelta(minutes=1)) == 0
    assert "Nothing is signed" in trouble(sessions)
    assert verified(keeper).returncode == 0, "what strangers have is as it was"
    theirs = bodies(sessions)
    folder = keeper.public / "tile" / "entries" / "000.p"
    (folder / "6").unlink()
    (folder / str(len(theirs))).write_bytes(bundle(theirs))
    told = verified(keeper)
    assert told.returncode == 1
    assert "What is wrong" in told.stdout
