"""The disk is full in the middle: it is told in words, nothing half is left or seen, and with room made the next run does it by itself."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.store.backups import Backup
from core.store.db import Sessions, make_engine
from jobs.backup import AGAIN, back_up
from jobs.drill import drill
from jobs.look import look
from tests.backups import Yard, open_alarms
from tests.disk import assert_told_as_full, disk
from tests.large import make_large

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
MEGABYTES = 8


@pytest.fixture(scope="module")
def large(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_large(migrated_sqlite, tmp_path_factory.mktemp("large") / "keychest.db", megabytes=MEGABYTES)


@contextlib.contextmanager
def yard_in(folder: Path, large: Path) -> Iterator[Yard]:
    shutil.copy(large, folder / "keychest.db")
    yard = Yard(Sessions(make_engine(f"sqlite:///{folder / 'keychest.db'}")), folder, datetime.now(UTC))
    try:
        yard.add_accounts(3)
        yield yard
    finally:
        yard.sessions.engine.dispose()


@pytest.mark.parametrize("copies", [0.5, 1.5], ids=["copying", "sealing"])
def test_no_room_beside_the_database(tmp_path: Path, large: Path, copies: float) -> None:
    size = large.stat().st_size
    with disk(tmp_path / "data", 10 * size) as data, yard_in(data.path, large) as yard:
        yard.urls = [(tmp_path / name).as_uri() for name in ("first", "second")]
        data.resize(data.used() + int(copies * size))
        failed = yard.back_up()
        assert failed.state == "failed"
        assert_told_as_full(failed.error)
        assert list((data.path / "scratch").iterdir()) == []
        assert [path for name in ("first", "second") for path in tmp_path.joinpath(name).rglob("*") if path.is_file()] == []
        yard.add_accounts(1)  # people go on
        data.resize(10 * size)
        assert the_next_run(yard).manifest["accounts"] == 4


@pytest.mark.parametrize("copies", [0.5, 1.5], ids=["fetching", "opening the seal"])
def test_no_room_for_a_drill(tmp_path: Path, large: Path, copies: float) -> None:
    size = large.stat().st_size
    with disk(tmp_path / "data", 10 * size) as data, yard_in(data.path, large) as yard:
        yard.urls = [(tmp_path / name).as_uri() for name in ("first", "second")]
        backup = yard.back_up()
        data.resize(data.used() + int(copies * size))
        held = yard.drill()
        assert held.state == "failed"
        assert_told_as_full(" ".join(held.faults))
        assert yard.known(backup.ref).restorable is None  # it says nothing of the backup
        assert list((data.path / "scratch").iterdir()) == []
        data.resize(10 * size)
        yard.pass_time(timedelta(days=1, hours=1))
        drill(yard.context)
        assert yard.known(backup.ref).restorable is True


@pytest.mark.parametrize("others", [0, 1], ids=["the only target", "one of two"])
def test_no_room_at_a_target(tmp_path: Path, large: Path, others: int) -> None:
    size = large.stat().st_size
    (tmp_path / "data").mkdir()
    with disk(tmp_path / "small", size // 2) as small, yard_in(tmp_path / "data", large) as yard:
        yard.urls = [small.path.as_uri(), (tmp_path / "other").as_uri()][: 1 + others]
        tried = yard.back_up()
        assert tried.state == ("stored" if others else "failed")
        assert_told_as_full(tried.targets[small.path.as_uri()] if others else tried.error)
        assert [path for path in small.path.rglob("*") if path.is_file()] == []
        look(yard.context, "now")
        assert set(open_alarms(yard)) == {"target" if others else "backup-failed"}
        small.resize(10 * size)
        if others:
            assert yard.drill().state == "passed"  # where it is, it is whole
            yard.pass_time(timedelta(days=1))
        stored = the_next_run(yard)
        assert set(stored.targets.values()) == {""}
        assert yard.drill(stored.ref).state == "passed"
        look(yard.context, "now")
        assert open_alarms(yard) == []


def the_next_run(yard: Yard) -> Backup:
    """What came of the run that is due by itself, whole at all targets and proven."""
    known = len(yard.stored())
    yard.pass_time(AGAIN)
    back_up(yard.context)
    stored = yard.stored()
    assert len(stored) == known + 1
    assert yard.drill(stored[0].ref).faults == []
    return stored[0]
