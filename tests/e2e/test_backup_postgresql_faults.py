"""PostgreSQL's backups and drills, killed -9 at each step: writers go on, nothing is left, and the next run makes it whole by itself.

A step costs ten seconds, so an ordinary run leaves out those that leave behind what another one leaves, too; see tests/steps.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from psycopg import sql

from core.actions.backups import stored_of
from core.backups.files import place_of_scratch
from core.backups.pgbackrest import PgBackRest
from core.store.backups import Backup, Drill
from jobs.backup import back_up
from jobs.drill import drill
from jobs.lease import LEASE
from tests import pgbackrest
from tests.backups import Yard
from tests.once import kill_at
from tests.pgbackrest import Cluster, running_cluster, yard_at
from tests.processes import eventually, marked
from tests.steps import points

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("pgbackrest-faults")]
AT_ONCE_MS = 2000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    with running_cluster() as running:
        yield running


@pytest.fixture
def yard(cluster: Cluster) -> Iterator[Yard]:
    with yard_at(cluster) as made:
        made.add_accounts(3)
        yield made


BACKUP_STEPS = {
    # what is about to be done, and what is known of the killed backup after the next run
    "in hand": ("jobs.backup:_settle", []),
    "begun": ("jobs.backup:_store", ["failed"]),
    "copied, tables locked": ("core.backups.pg_point:take_snapshot", ["failed"]),
    "at its point, hashing": ("core.backups.pgbackrest:_manifest", ["failed"]),
    "whole in the repository, its label nowhere": ("core.backups.make:put_backup", ["failed"]),
    "persisted, not noted": ("jobs.backup:record_backup", ["stored"]),
    "noted, nothing beside it": ("jobs.backup:_put_beside", ["stored"]),
}


BACKUP_LIKE_ANOTHER = (
    "begun",  # nothing is in the repository: less than at "copied, tables locked", and the row is as there
    "at its point, hashing",  # the repository holds what it holds at "whole in the repository"
    "noted, nothing beside it",  # the job's own part, the same on SQLite: there it is "stored, nothing beside it"
)


@pytest.mark.parametrize("step", points(BACKUP_STEPS, left_out=BACKUP_LIKE_ANOTHER))
def test_a_backup_killed_at_any_step_is_outlived(yard: Yard, cluster: Cluster, step: str) -> None:
    function, becomes = BACKUP_STEPS[step]
    kill_at(yard, function, "back_up", "now")
    assert_writers_go_on(cluster)
    before = [backup.state for backup in rows(yard)]
    yard.at = datetime.now(UTC)
    back_up(yard.context)  # due by itself, and in the dead one's hand for as long as its lease
    assert [backup.state for backup in rows(yard)] == before
    yard.pass_time(LEASE + timedelta(seconds=5))
    back_up(yard.context)
    assert [backup.state for backup in rows(yard)] == [*becomes, "stored"]
    assert_orderly(yard)
    for backup in yard.stored():
        held = yard.drill(backup.ref)
        assert (held.faults, held.fidelity) == ([], 100.0)


DRILL_STEPS = {
    # what is about to be done, and whether a restored cluster lies there then
    "restored": ("core.backups.scratch_server:isolate", True),
    "its server running": ("core.backups.pgbackrest:tables_of", True),
    "compared": ("core.backups.drill:_proof", False),
    "passed, not noted": ("jobs.drill:record_drill", False),
}


DRILL_LIKE_ANOTHER = (
    "restored",  # a restored cluster lies there, as at "its server running", and no server
    "compared",  # all is put away, as at "passed, not noted"
)


@pytest.mark.parametrize("step", points(DRILL_STEPS, left_out=DRILL_LIKE_ANOTHER))
def test_a_drill_killed_at_any_step_is_held_anew(yard: Yard, cluster: Cluster, step: str) -> None:
    yard.back_up()
    function, leaves = DRILL_STEPS[step]
    kill_at(yard, function, "drill", "newest")
    assert bool(list(place_of_scratch(yard.folder, passable=True).glob("drill-*/restored/PG_VERSION"))) is leaves
    eventually(lambda: not marked(str(place_of_scratch(yard.folder, passable=True))))
    assert_writers_go_on(cluster)
    yard.at = datetime.now(UTC)
    drill(yard.context)
    assert [each.state for each in drills(yard)] == ["running"]
    assert yard.stored()[0].restorable is None
    yard.pass_time(LEASE + timedelta(seconds=5))
    drill(yard.context)
    assert [(each.state, each.fidelity) for each in drills(yard)] == [("failed", None), ("passed", 100.0)]
    assert yard.stored()[0].restorable is True
    assert_orderly(yard)


def rows(yard: Yard) -> list[Backup]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Backup).order_by(Backup.id)))


def drills(yard: Yard) -> list[Drill]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Drill).order_by(Drill.id)))


def assert_writers_go_on(cluster: Cluster) -> None:
    """Whatever the dead one had locked is free, in all tables that people's requests write to."""
    with cluster.connect() as connection:
        connection.execute(f"SET statement_timeout = {AT_ONCE_MS}")
        for table in ("accounts", "watches", "audit_outbox", "observations"):
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(sql.Identifier(table)))


def assert_orderly(yard: Yard) -> None:
    """The oracle: nothing is in hand, nothing lies about, repository and targets hold what the rows say, once."""
    stored = {stored_of(backup).label: stored_of(backup).manifest.label for backup in yard.stored()}
    assert not [backup.ref for backup in rows(yard) if backup.state == "running"]
    assert list(place_of_scratch(yard.folder, passable=True).glob("*")) == []
    for target in ("first", "second"):
        labels = [path.relative_to(yard.folder / target).as_posix() for path in yard.files(f"{target}/backups")]
        assert sorted(labels) == sorted(stored)
    engine = yard.plan.engine()
    assert isinstance(engine, PgBackRest)
    assert sorted(engine.info()) == sorted(stored.values())
