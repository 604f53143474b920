"""The upgrade that caused the accident: user roles, at 1,234 accounts. A proven backup comes first, and nothing that was there changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cli import main
from core.store import schema
from core.store.db import Sessions, make_engine
from tests.postgres import Postgres

pytestmark = pytest.mark.slow
BEFORE = "0007"
"""The schema's revision before teams, tokens, second factors and approvals."""
ACCOUNTS = 1_234
FIRST = 10_000
"""Beyond what migrations put into tables themselves."""
AT = datetime(2026, 11, 1, tzinfo=UTC)
Columns = dict[str, list[str]]


def fill(engine: sa.Engine) -> Columns:
    """So many rows in every table that there is, each with something in each column; the tables' columns, by name."""
    metadata = sa.MetaData()
    with engine.begin() as connection:
        metadata.reflect(connection)
        tables = [table for table in metadata.sorted_tables if table.name != "alembic_version"]
        for table in tables:
            connection.execute(table.insert(), [{column.name: value(column, number) for column in table.c} for number in range(ACCOUNTS)])
    return {table.name: [column.name for column in table.c] for table in tables}


MADE: list[tuple[type[sa.types.TypeEngine[Any]], Callable[[int], Any]]] = [
    (sa.JSON, lambda number: {"n": number}),
    (sa.Boolean, lambda number: number % 2 == 0),
    (sa.DateTime, lambda number: AT + timedelta(seconds=number)),
    (sa.LargeBinary, lambda number: number.to_bytes(4)),
    (sa.Float, lambda number: number / 8),
    (sa.Integer, lambda number: FIRST + number),
]


def value(column: sa.Column[Any], number: int) -> Any:
    """Another one in each row, so that nothing collides; what points to another table points to its row of the same number."""
    for key in column.foreign_keys:
        return value(key.column, number)
    for kind, made in MADE:
        if isinstance(column.type, kind):
            return made(number)
    return f"{number:x}{column.name}ö"[: getattr(column.type, "length", None) or 200]


def hashes(engine: sa.Engine, columns: Columns) -> dict[str, str]:
    """An ordered hash over all that these columns of each table hold."""
    found = {}
    with engine.connect() as connection:
        for table, names in columns.items():
            listed = ", ".join(f'"{name}"' for name in names)
            digest, rows = hashlib.sha256(), 0
            for row in connection.execute(sa.text(f'SELECT {listed} FROM "{table}" ORDER BY {listed}')):
                digest.update(repr(tuple(bytes(each) if isinstance(each, memoryview) else each for each in row)).encode())
                rows += 1
            found[table] = f"{rows} {digest.hexdigest()}"
    return found


def test_it_takes_a_proven_backup_first_and_leaves_every_old_row_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    monkeypatch.setenv("KEYCHEST_DATA", str(data))
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    schema.upgrade(engine, BEFORE)
    columns = fill(engine)
    before = hashes(engine, columns)
    assert before["accounts"].startswith(f"{ACCOUNTS} ")
    engine.dispose()
    assert main.main(["db", "upgrade"]) == 0
    said = capsys.readouterr().out
    assert "was made and proven before anything changes" in said
    assert schema.revision(engine) == schema.newest_revision()
    compared = {table: names for table, names in columns.items() if table not in BOOK_KEEPING}
    assert hashes(engine, compared) == {table: before[table] for table in compared}
    assert list((data / "backups" / "backups").glob("*.db.age"))
    engine.dispose()


BOOK_KEEPING = frozenset({"audit_outbox", "backups", "drills", "recovery_kits", "chores"})
"""Where the backup that comes first is written down."""


@pytest.fixture
def empty_postgresql(postgres: Postgres) -> Iterator[Sessions]:
    url = postgres.empty()
    engine = make_engine(url)
    yield Sessions(engine)
    engine.dispose()
    postgres.drop(url)


def test_on_postgresql_every_old_row_stays_as_it_was_too(empty_postgresql: Sessions) -> None:
    engine = empty_postgresql.engine
    schema.upgrade(engine, BEFORE)
    columns = fill(engine)
    before = hashes(engine, columns)
    schema.upgrade(engine)
    assert hashes(engine, columns) == before


def test_the_hashes_see_one_changed_value(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'keychest.db'}")
    schema.upgrade(engine, BEFORE)
    columns = fill(engine)
    before = hashes(engine, columns)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET installation_role = '' WHERE id = :id"), {"id": FIRST + 600})
    after = hashes(engine, columns)
    engine.dispose()
    assert {table for table in before if before[table] != after[table]} == {"users"}
