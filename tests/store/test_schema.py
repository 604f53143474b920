import importlib

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from core.store import schema
from core.store.base import Base
from core.store.db import Sessions, make_engine
from tests.make import NOW, make_actor, make_watches
from tests.postgres import Postgres

TABLES = (
    "audit.tables",
    *(
        f"core.store.{name}"
        for name in ("accounts", "backups", "endpoints", "heartbeats", "incidents", "leaves", "observations", "watches")
    ),
)
for module in TABLES:
    importlib.import_module(module)


@pytest.mark.slow
def test_models_equal_migrations(sessions: Sessions) -> None:
    with sessions.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": schema.declared})
        assert compare_metadata(context, Base.metadata) == []
        assert schema.revision(sessions.engine) == schema.newest_revision()


def test_migrating_again_keeps_every_row(sessions: Sessions) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    before = rows(sessions)
    schema.upgrade(sessions.engine)
    assert rows(sessions) == before
    assert before["watches"] == 1


def rows(sessions: Sessions) -> dict[str, int]:
    with sessions.reading() as session:
        return {table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in Base.metadata.sorted_tables}


@pytest.mark.slow
def test_an_empty_postgresql_is_migrated(postgres: Postgres) -> None:
    engine = make_engine(postgres.empty())
    assert schema.revision(engine) == ""
    schema.upgrade(engine)
    assert schema.revision(engine) == schema.newest_revision()
    engine.dispose()


def test_a_naive_time_is_refused(sessions: Sessions) -> None:
    with sessions.writing() as session, pytest.raises(sa.exc.StatementError, match="no time zone"):
        make_actor(session, now=NOW.replace(tzinfo=None))


def test_foreign_keys_hold(sessions: Sessions) -> None:
    with pytest.raises(IntegrityError), sessions.writing() as session:
        session.execute(sa.text("INSERT INTO watch_tallies (account_id, state, watches) VALUES (999, 'ok', 0)"))


def test_sqlite_keeps_what_it_acknowledged(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()
