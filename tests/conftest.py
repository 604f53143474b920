"""What all tests share: a migrated database on either engine, and the place of other people's test data."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from audit.keeper import Keeper
from core.actions import passwords
from core.backups import kit
from core.store import schema
from core.store.db import Sessions, make_engine
from tests.mailed import Post
from tests.postgres import Postgres, folder_of_its_own, programs, running_postgres

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

REAL_HASHER = passwords._HASHER
passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
REAL_LOG2_N = kit._LOG2_N
kit._LOG2_N = 4
"""Passwords, and fingerprints in recovery kits, are dear to hash, on purpose, and thousands are hashed here: in the tests' own processes by
the least measure there is. Installations that tests start hash by the real one, and so does a test that asks for `real_hashing`. Set before
tests.people hashes one."""


_COMPILED: Final[dict[Any, Any]] = {}
"""SQLAlchemy keeps compiled statements for each engine and each object of a dialect. A test has an engine of its own, and would compile
all of them anew, a third of its cost. Here all dialects of a kind are one, and so is what was compiled, as in a portal that runs on."""

_make_engine = sa.create_engine


def _create_engine(*words: Any, **named: Any) -> sa.Engine:
    engine = _make_engine(*words, **named)
    engine.update_execution_options(compiled_cache=_COMPILED)
    return engine


sa.create_engine = _create_engine
for _kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    _kind.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    _kind.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]


@pytest.fixture
def real_hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[PasswordHasher]:
    """Passwords are hashed by the measure that people's are: for tests that look at the measure, or at the time it takes."""
    monkeypatch.setattr(passwords, "_HASHER", REAL_HASHER)
    monkeypatch.setattr(kit, "_LOG2_N", REAL_LOG2_N)
    passwords._nobody.cache_clear()
    yield REAL_HASHER
    passwords._nobody.cache_clear()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "keychest.db"
    engine = make_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, one for each worker of the test run."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with folder_of_its_own() as folder, running_postgres(folder / "server") as server:
        yield server


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite database."""
    shutil.copy(migrated_sqlite, tmp_path / "keychest.db")
    return f"sqlite:///{tmp_path / 'keychest.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh, migrated database: the test runs once on each engine."""
    if request.param == "sqlite":
        yield str(request.getfixturevalue("sqlite_url"))
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.database()
    yield url
    server.drop(url)


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """Sessions on a fresh database, on each engine."""
    engine = make_engine(database_url)
    yield Sessions(engine)
    engine.dispose()


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """The folder in which a log keeps what is not in the database, with nothing in it yet."""
    found = Keeper(tmp_path / "log")
    found.prepare()
    return found


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder, not made yet, on another filesystem than `tmp_path`."""
    others = [Path(each) for each in ("/dev/shm", "/tmp", "/var/tmp") if Path(each).is_dir()]
    other = next((each for each in others if each.stat().st_dev != tmp_path.stat().st_dev), None)
    if other is None:
        pytest.skip("there is no second filesystem here to put a target on")
    folder = other / f"keychest-test-{secrets.token_hex(8)}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def post(sessions: Sessions, tmp_path: Path) -> Post:
    """Who sends letters, into a folder of the test's own."""
    return Post(sessions, tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without its windows where that is there: it does the same by half the work.

    A module's own: while playwright runs, its event loop is in the way of other tests' loops.
    """
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt-get install chromium-headless-shell)")
    flags = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"]
    root = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox refuses to be root's
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=[*flags, *root])
        yield running
        running.close()


@pytest.fixture
def shared() -> Path:
    """Other people's test data. The test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: other people's test data is read from there")
    return SHARED


def pytest_collection_finish() -> None:
    """What was imported is not looked through for cycles again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
