"""Jobs that make and prove backups are killed, doubled and starved; the oracle is a number: nothing lost, nothing doubled, nothing left."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.store.backups import Backup, Drill
from core.store.db import Sessions, make_engine
from jobs.backup import back_up
from jobs.drill import drill
from jobs.lease import LEASE
from tests.backups import Yard
from tests.large import make_large
from tests.once import begun, stop_at, together
from tests.steps import points

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
MEGABYTES = 16
"""Large enough for each step to be met."""
TRIES = 5


@pytest.fixture(scope="module")
def large(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_large(migrated_sqlite, tmp_path_factory.mktemp("large") / "keychest.db", megabytes=MEGABYTES)


MakeYard = Callable[[], Yard]


@pytest.fixture
def make_yard(large: Path, tmp_path: Path) -> Iterator[MakeYard]:
    """Yards with a large database each, in real time."""
    made: list[Yard] = []

    def make() -> Yard:
        folder = tmp_path / f"yard{len(made)}"
        folder.mkdir(mode=0o700)
        shutil.copy(large, folder / "keychest.db")
        made.append(Yard(Sessions(make_engine(f"sqlite:///{folder / 'keychest.db'}")), folder, datetime.now(UTC)))
        made[-1].add_accounts(3)
        return made[-1]

    yield make
    for yard in made:
        yard.sessions.engine.dispose()


def _holds(yard: Yard, pattern: str) -> bool:
    return any(path.stat().st_size for path in yard.folder.glob(pattern))


def _step(yard: Yard, table: str, step: str) -> bool:
    with closing(sqlite3.connect(yard.folder / "keychest.db")) as connection:
        return connection.execute(f"SELECT step FROM {table} WHERE state = 'running'").fetchall() == [(step,)]


BACKUP_POINTS: dict[str, Callable[[Yard], bool]] = {
    "copying": lambda yard: _step(yard, "backups", "Copy") and _holds(yard, "scratch/*/keychest.db"),
    "sealing": lambda yard: _step(yard, "backups", "Seal") and _holds(yard, "scratch/*/sealed"),
    "uploading": lambda yard: _step(yard, "backups", "Store") and _holds(yard, "first/backups/.*"),
    "sealed file there, its mark not": lambda yard: _holds(yard, "first/backups/*.age") and not _holds(yard, "first/backups/*.json"),
    "whole at one of two": lambda yard: _holds(yard, "first/backups/*.json") and not _holds(yard, "second/backups/*.json"),
    "stored, nothing beside it": lambda yard: (
        not _step(yard, "backups", "Store") and not _holds(yard, "second/escrow/*") and bool(yard.stored())
    ),
}


@pytest.mark.parametrize("point", points(BACKUP_POINTS, left_out=("copying",)))  # at "sealing" the plain copy lies there, whole
def test_a_backup_killed_at_any_point_is_outlived(make_yard: MakeYard, point: str) -> None:
    yard = killed(make_yard, "back_up", "now", met=BACKUP_POINTS[point])
    left = [backup.state for backup in rows(yard)]
    back_up(yard.context)  # due by itself, and in the dead one's hand for as long as its lease
    assert [backup.state for backup in rows(yard)] == left
    assert left in (["running"], ["stored"])
    yard.pass_time(LEASE + timedelta(seconds=5))
    back_up(yard.context)
    whole_before = point in {"sealed file there, its mark not", "whole at one of two", "stored, nothing beside it"}
    assert [backup.state for backup in rows(yard)] == ["stored" if whole_before else "failed", "stored"]
    assert_orderly(yard)
    assert set(rows(yard)[-1].targets.values()) == {""}
    for backup in yard.stored():
        assert yard.drill(backup.ref).faults == []


DRILL_POINTS: dict[str, Callable[[Yard], bool]] = {
    "fetching": lambda yard: _step(yard, "drills", "Fetch") and _holds(yard, "scratch/drill-*/fetched-*"),
    "opening the seal": lambda yard: _step(yard, "drills", "Open the seal") and _holds(yard, "scratch/drill-*/restored-copy"),
    "restoring": lambda yard: _step(yard, "drills", "Restore") and _holds(yard, "scratch/drill-*/restored/.*"),
    "comparing": lambda yard: _step(yard, "drills", "Open and compare") and _holds(yard, "scratch/drill-*/restored/keychest.db"),
}


DRILL_LIKE_ANOTHER = (
    "fetching",  # of what lies about then, all and more does at "restoring"
    "opening the seal",  # the same; and there one is stopped that sleeps through its lease, below
)


@pytest.mark.parametrize("point", points(DRILL_POINTS, left_out=DRILL_LIKE_ANOTHER))
def test_a_drill_killed_at_any_point_is_held_anew(make_yard: MakeYard, point: str) -> None:
    yard = killed(lambda: with_backup(make_yard()), "drill", "newest", met=DRILL_POINTS[point])
    drill(yard.context)
    assert [each.state for each in drills(yard)] == ["running"]
    assert yard.stored()[0].restorable is None
    yard.pass_time(LEASE + timedelta(seconds=5))
    drill(yard.context)
    assert [(each.state, each.fidelity) for each in drills(yard)] == [("failed", None), ("passed", 100.0)]
    assert "stopped in the middle" in drills(yard)[0].faults[0]
    assert yard.stored()[0].restorable is True
    assert_orderly(yard)


def test_of_two_backups_at_once_one_is_made(make_yard: MakeYard) -> None:
    yard = make_yard()
    together(yard, "back_up", "now", times=3)
    assert [backup.state for backup in rows(yard)] == ["stored"]
    assert_orderly(yard)


def test_of_two_drills_at_once_one_is_held(make_yard: MakeYard) -> None:
    yard = with_backup(make_yard())
    together(yard, "drill", "newest", times=3)
    assert [each.state for each in drills(yard)] == ["passed"]
    assert_orderly(yard)


def test_a_backup_that_slept_through_its_lease_doubles_nothing(make_yard: MakeYard) -> None:
    """Its machine was suspended, say: another worker took over before it woke."""
    with stopped(make_yard, "back_up", "now", met=BACKUP_POINTS["sealing"]) as (yard, process):
        yard.pass_time(LEASE + timedelta(seconds=5))
        back_up(yard.context)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
    assert [backup.state for backup in rows(yard)] == ["failed", "stored"]
    assert_orderly(yard)
    assert yard.drill().faults == []


def test_a_drill_that_slept_through_its_lease_says_nothing_of_the_backup(make_yard: MakeYard) -> None:
    with stopped(lambda: with_backup(make_yard()), "drill", "newest", met=DRILL_POINTS["opening the seal"]) as (yard, process):
        yard.pass_time(LEASE + timedelta(seconds=5))
        drill(yard.context)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
    assert [each.state for each in drills(yard)] == ["failed", "passed"]
    assert yard.stored()[0].restorable is True
    assert_orderly(yard)


@contextmanager
def stopped(make: MakeYard, *words: str, met: Callable[[Yard], bool]) -> Iterator[tuple[Yard, subprocess.Popen[bytes]]]:
    """A job that stands at the point, in a yard whose time is now; where it was too fast for us, in a fresh one. Killed afterwards."""
    for _ in range(TRIES):
        yard = make()
        with begun(yard, *words) as process:
            if stop_at(process, partial(met, yard)):
                yard.at = datetime.now(UTC)
                yield yard, process
                return
    raise AssertionError(f"the point was not met in {TRIES} tries")


def killed(make: MakeYard, *words: str, met: Callable[[Yard], bool]) -> Yard:
    """A yard in which the job was killed -9 at the point."""
    with stopped(make, *words, met=met) as (yard, _):
        return yard


def with_backup(yard: Yard) -> Yard:
    yard.back_up()
    return yard


def rows(yard: Yard) -> list[Backup]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Backup).order_by(Backup.id)))


def drills(yard: Yard) -> list[Drill]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Drill).order_by(Drill.id)))


def assert_orderly(yard: Yard) -> None:
    """The oracle: nothing is in hand, no plain copy lies about, and each target holds what the rows say, sealed and marked, once."""
    assert [backup.ref for backup in rows(yard) if backup.state == "running"] == []
    assert [path.name for path in (yard.folder / "scratch").iterdir()] == []
    for name in ("first", "second"):
        shown = (yard.folder / name).as_uri()
        expected = {backup.name: backup.ref for backup in rows(yard) if backup.state == "stored" and backup.targets[shown] == ""}
        visible = [path for path in yard.files(f"{name}/backups") if not path.name.startswith(".")]
        assert sorted(path.name for path in visible) == sorted(f"{each}{end}" for each in expected for end in (".db.age", ".json"))
        assert {json.loads(path.read_bytes())["ref"] for path in visible if path.suffix == ".json"} == set(expected.values())
