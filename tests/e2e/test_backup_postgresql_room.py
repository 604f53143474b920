"""A disk is full in the middle of what pgBackRest does: it is told in words, and with room made the next run does it by itself.

One of two targets that has no room is told of in test_backup_room, by the code of every engine; here with EVERY_STEP=1.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.backups.files import place_of_scratch
from core.backups.pgbackrest import PgBackRest
from core.store.backups import Backup
from jobs.backup import AGAIN, FULL_EVERY, back_up
from jobs.drill import drill
from jobs.look import look
from tests import pgbackrest
from tests.backups import Yard, open_alarms
from tests.disk import assert_told_as_full, disk
from tests.pgbackrest import Cluster, running_cluster, yard_at
from tests.steps import seldom

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("pgbackrest-room")]
SMALL, LARGE = 2 << 20, 512 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    with running_cluster() as running:
        yield running


def test_no_room_in_the_repository() -> None:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    with running_cluster() as cluster, disk(cluster.folder / "other", LARGE) as other, yard_at(cluster) as yard:
        pgbackrest.give(other.path)
        elsewhere = cluster.config_with("elsewhere.conf", f"repo1-path={cluster.repository}", f"repo1-path={other.path}")
        elsewhere.rename(cluster.config)  # archive_command reads it too
        yard.add_accounts(3)
        first = yard.back_up()
        yard.pass_time(FULL_EVERY)
        other.resize(other.used() + SMALL)
        failed = yard.back_up()
        assert failed.state == "failed"
        assert_told_as_full(failed.error)
        yard.add_accounts(1)  # people go on
        look(yard.context, "now")
        assert "backup-failed" in open_alarms(yard)
        assert yard.drill(first.ref).faults == []  # what was there is as it was
        other.resize(LARGE)
        stored = the_next_run(yard)
        assert stored.manifest["accounts"] == 4
        assert labels(yard) == [first.manifest["label"], stored.manifest["label"]]
        look(yard.context, "now")
        assert open_alarms(yard) == []


def test_no_room_for_a_drill(cluster: Cluster) -> None:
    with yard_at(cluster) as yard:
        yard.add_accounts(3)
        backup = yard.back_up()
        with disk(place_of_scratch(yard.folder, passable=True), SMALL) as scratch:
            held = yard.drill()
            assert held.state == "failed"
            assert_told_as_full(" ".join(held.faults))
            assert yard.known(backup.ref).restorable is None  # it says nothing of the backup
            assert list(scratch.path.iterdir()) == []
            scratch.resize(LARGE)
            yard.pass_time(timedelta(days=1, hours=1))
            drill(yard.context)
            assert yard.known(backup.ref).restorable is True


@pytest.mark.parametrize("others", [pytest.param(0, id="the only target"), pytest.param(1, id="one of two", marks=seldom)])
def test_no_room_at_a_target(cluster: Cluster, tmp_path: Path, others: int) -> None:
    with disk(tmp_path / "small", 4096) as small, yard_at(cluster) as yard:
        yard.urls = [small.path.as_uri(), (tmp_path / "other").as_uri()][: 1 + others]
        yard.add_accounts(3)
        tried = yard.back_up()
        assert tried.state == ("stored" if others else "failed")
        assert_told_as_full(tried.targets[small.path.as_uri()] if others else tried.error)
        assert [path for path in small.path.rglob("*") if path.is_file()] == []
        look(yard.context, "now")
        assert open_alarms(yard) == ["target" if others else "backup-failed"]
        small.resize(LARGE)
        if others:
            assert yard.drill().state == "passed"
            yard.pass_time(timedelta(days=1))
        stored = the_next_run(yard)
        assert set(stored.targets.values()) == {""}
        look(yard.context, "now")
        assert open_alarms(yard) == []


def the_next_run(yard: Yard) -> Backup:
    """What came of the run that is due by itself, proven."""
    known = len(yard.stored())
    yard.pass_time(AGAIN)
    back_up(yard.context)
    stored = yard.stored()
    assert len(stored) == known + 1
    assert yard.drill(stored[0].ref).faults == []
    return stored[0]


def labels(yard: Yard) -> list[str]:
    engine = yard.plan.engine()
    assert isinstance(engine, PgBackRest)
    return engine.info()
