"""The same jobs on PostgreSQL: a real cluster, a real encrypted repository, the accident replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.actions.backups import begin_backup
from core.backups.restore import Log, restore
from core.backups.stored import list_stored
from core.store.backups import Backup
from core.store.db import make_engine
from jobs.look import look
from tests import pgbackrest
from tests.backups import WORKER, Yard
from tests.once import begun
from tests.pgbackrest import Cluster, running_cluster, yard_at
from tests.processes import eventually
from tests.steps import seldom

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("pgbackrest-jobs")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    with running_cluster() as running:
        yield running


@pytest.fixture
def yard(cluster: Cluster) -> Iterator[Yard]:
    with yard_at(cluster) as made:
        yield made


def test_a_backup_is_made_by_pgbackrest_and_proven(yard: Yard) -> None:
    yard.add_accounts(5)
    backup = yard.back_up()
    assert (backup.state, backup.engine, backup.error) == ("stored", "postgresql", "")
    assert backup.size_bytes > 0
    assert next(iter(backup.targets)).startswith("pgbackrest:/")
    assert len(yard.plan.beside_database()) == 3  # all of it lies below one folder here
    drill = yard.drill()
    assert drill.faults == []
    assert (drill.fidelity, drill.coverage, drill.accounts_held) == (100.0, 100.0, 5)
    assert yard.known(backup.ref).restorable is True
    for target in ("first", "second"):
        labels = yard.files(target, ".json")
        assert [json.loads(path.read_bytes())["ref"] for path in labels if path.parent.name == "backups"] == [backup.ref]
    assert yard.files("first", ".db.age") == []
    assert [path.parent.name for path in yard.files("second", ".age")] == ["escrow"]
    look(yard.context, "now")  # the portal's own worker writes the kit: the keys lie in its data folder
    assert sorted(path.parent.name for path in yard.files("second", ".age")) == ["escrow", "kits"]


def test_the_accident_the_newest_backup_is_one_that_held_sixty_per_cent(yard: Yard) -> None:
    yard.add_accounts(30)
    old = yard.back_up()
    yard.add_accounts(20)
    newest = yard.back_up()
    assert yard.drill(newest.ref).coverage == 100.0
    with yard.sessions.writing() as session:  # what is called the newest is the copy of before
        row = session.get_one(Backup, newest.id)
        row.manifest = row.manifest | {"label": old.manifest["label"], "point": old.manifest["point"]}
    drill = yard.drill(newest.ref)
    assert drill.coverage == 60.0
    assert (drill.accounts_held, drill.accounts_alive) == (30, 50)
    assert drill.fidelity is not None
    assert drill.fidelity < 100
    assert any("accounts has 30 of 50 rows" in words for words in drill.differences)
    assert yard.known(newest.ref).restorable is False
    look(yard.context, "now")
    with yard.sessions.reading() as session:
        message = session.execute(sa.text("SELECT message FROM alarms WHERE kind = 'drill-failed' AND closed_at IS NULL")).scalar_one()
    assert "Coverage 60.000 %." in message


def test_missing_wal_is_told_by_name(yard: Yard, cluster: Cluster) -> None:
    backup = yard.back_up()
    segments = cluster.segments()
    kept = segments[-1].read_bytes()
    segments[-1].unlink()
    try:
        drill = yard.drill(backup.ref)
    finally:
        segments[-1].write_bytes(kept)
        pgbackrest.give(segments[-1])
    assert drill.state == "failed"
    assert drill.faults[0].startswith("Missing WAL: ")
    assert segments[-1].name[:24] in drill.faults[0]
    assert yard.known(backup.ref).restorable is False
    assert yard.drill(backup.ref).state == "passed"


def test_it_is_restored_into_a_new_cluster_by_the_label_alone(yard: Yard, cluster: Cluster) -> None:
    yard.add_accounts(2)
    yard.back_up()
    plan = yard.plan
    [stored], unreadable = list_stored(plan.targets()[0])
    assert unreadable == []
    seen: list[int] = []

    def count(url: str) -> None:
        engine = make_engine(url)
        with engine.connect() as connection:
            seen.append(connection.execute(sa.text("SELECT count(*) FROM accounts")).scalar_one())
        engine.dispose()

    new = cluster.folder / "new"
    scratch = yard.folder / "restoring"
    scratch.mkdir()
    restored = restore(
        plan.engine(), stored, plan.targets(), [], new, manifest=stored.manifest, scratch=scratch,
        log=Log(lambda: 0.0, lambda _step: None), look=count,
    )  # fmt: skip
    assert (restored.faults, restored.different, seen) == ((), (), [2])
    assert (new / "PG_VERSION").is_file()


def test_retention_is_followed_in_the_repository_too(yard: Yard, cluster: Cluster) -> None:
    yard.keep = "hourly=0,daily=1,weekly=0,monthly=0"
    yard.plan.engine().tidy([])  # what the tests before left
    old = yard.back_up()
    first_wal = cluster.segments()[0].name
    yard.pass_time(timedelta(days=1))
    builds = yard.back_up()
    assert builds.manifest["label"].startswith(f"{old.manifest['label'][:16]}_") or "_" in builds.manifest["label"]
    yard.drill()
    look(yard.context, "now")
    assert [backup.ref for backup in yard.stored()] == [builds.ref]
    yard.pass_time(timedelta(days=7))
    full = yard.back_up()
    assert "_" not in full.manifest["label"]
    yard.drill()
    look(yard.context, "now")
    yard.pass_time(timedelta(minutes=1))
    newest = yard.back_up()
    labels = [path.name for path in (cluster.repository / "backup" / "kc").iterdir() if path.is_dir() and path.name[0] == "2"]
    assert sorted(labels) == sorted({full.manifest["label"], newest.manifest["label"]})
    assert cluster.segments()[0].name > first_wal
    assert yard.drill(newest.ref).state == "passed"


def test_without_a_configuration_it_says_what_to_set(yard: Yard) -> None:
    yard.pgbackrest_config = ""
    backup = yard.back_up()
    assert backup.state == "failed"
    assert "KEYCHEST_PGBACKREST_CONFIG is not set" in backup.error


def test_two_at_once_are_one_and_a_killed_one_is_followed_by_a_whole_one(yard: Yard) -> None:
    yard.add_accounts(3)
    with yard.sessions.writing() as session:  # as a worker leaves it that is killed while pgBackRest copies
        made = begin_backup(session, WORKER, engine="postgresql", kind="due", lease=timedelta(minutes=3), now=yard.at)
        assert made is not None
        ref = made.ref
    assert yard.back_up().ref == ref  # in another's hand
    assert yard.stored() == []
    yard.pass_time(timedelta(minutes=4))
    whole = yard.back_up()
    assert (yard.known(ref).state, whole.state) == ("failed", "stored")
    assert yard.drill().state == "passed"


@seldom
def test_persisted_but_not_noted_is_noted_and_not_made_again(yard: Yard) -> None:
    """By rows alone; tests/e2e/test_backup_postgresql_faults.py kills a job there."""
    backup = yard.back_up()
    with yard.sessions.writing() as session:
        lease = yard.at + timedelta(minutes=3)
        session.execute(sa.update(Backup).values(state="running", ended_at=None, targets={}, lease_until=lease))
    yard.pass_time(timedelta(minutes=5))
    yard.back_up()
    assert len(yard.stored()) == 2
    assert set(yard.known(backup.ref).targets.values()) == {""}
    assert yard.drill(backup.ref).state == "passed"


def test_a_job_killed_while_it_copies_leaves_the_next_one_free(yard: Yard) -> None:
    yard.add_accounts(2)
    with begun(yard, "back_up", "now") as job:
        eventually(lambda: any(backup.state == "running" for backup in _all(yard)), within_s=30)
        job.kill()
    yard.at = datetime.now(UTC) + timedelta(minutes=4)
    eventually(lambda: yard.back_up().state == "stored", within_s=60)  # pgBackRest of the killed one may be at its end still
    assert [backup.state for backup in _all(yard) if backup.state == "running"] == []
    assert yard.drill().state == "passed"


@pytest.mark.parametrize("off", [pytest.param(timedelta(days=2), id="ahead"), pytest.param(timedelta(days=-2), id="behind", marks=seldom)])
def test_a_wrong_clock_removes_nothing_and_the_next_run_is_fine(yard: Yard, off: timedelta) -> None:
    """Ahead all is old enough to go. Behind, retention is that of SQLite, which tests/jobs/test_backup.py asks both ways."""
    yard.keep = "hourly=0,daily=1,weekly=0,monthly=0"
    made = [yard.back_up(), yard.back_up()]
    yard.drill()
    yard.pass_time(off)
    look(yard.context, "now")
    assert {backup.ref for backup in yard.stored()} == {backup.ref for backup in made}
    yard.pass_time(timedelta(minutes=5) - off)
    yard.back_up()
    assert yard.drill().state == "passed"


def _all(yard: Yard) -> list[Backup]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Backup).order_by(Backup.id)))
