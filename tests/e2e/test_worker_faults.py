"""A worker that is stopped, starved or killed, a disk or broker without room, a database or password that changes, all in the middle
of the work: every due scan is done, every result recorded once, and while it lasts a monitor is told.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from core.actions.heartbeats import beat
from core.store.endpoints import Endpoint, Schedule
from jobs.queues import connect
from tests.conftest import ROOT
from tests.disk import Disk, assert_told_as_full, disk
from tests.postgres import folder_of_its_own, programs, running_postgres
from tests.processes import eventually
from tests.works import NAMES, Works, await_all, await_the_middle, kill, scans_made, watch, works

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("worker faults")]
MEGABYTE = 2**20
LEASE_S = 5


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    with works(tmp_path_factory.mktemp("worker-faults"), lease_s=LEASE_S) as running:
        yield running


def in_the_middle(at_work: Works, prefix: str) -> int:
    """Work is going on; how many scans were made before it began."""
    made_before = scans_made(at_work)
    watch(at_work, prefix)
    await_the_middle(at_work, made_before)
    return made_before


def test_a_worker_that_sleeps_through_its_lease_doubles_nothing_when_it_wakes(at_work: Works) -> None:
    made_before = in_the_middle(at_work, "asleep")
    worker, horse = at_work.running.pid_of("keychest: worker-scan of"), at_work.horse()
    asleep = (horse, worker)
    fall_asleep(at_work, asleep)
    try:
        eventually(lambda: at_work.told()["workers"]["scan"]["age_s"] > 30, within_s=20)
        assert at_work.told()["status"] == "bad"
        words = [sys.executable, "-m", "jobs.worker", "scan"]
        with subprocess.Popen(words, env=at_work.environment(), cwd=ROOT) as second:
            try:
                eventually(lambda: done(at_work, "asleep"), within_s=60)  # by another, after the lease was over
                assert Path(f"/proc/{horse}/stat").read_text().rpartition(")")[2].split()[0] == "T"
                for pid in asleep:
                    os.kill(pid, signal.SIGCONT)
                eventually(lambda: not Path(f"/proc/{horse}").exists(), within_s=60)  # it says what it saw, and is not believed
            finally:
                second.terminate()
                assert second.wait(20) == 0
    finally:
        for pid in asleep:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    await_all(at_work, "asleep", made_before)


def fall_asleep(at_work: Works, pids: Sequence[int]) -> None:
    """All stop, at a moment when none of them is writing: else SQLite waits for the sleeper, and all with it."""
    file = at_work.sessions.engine.url.database or ""

    def asleep() -> bool:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with (
            contextlib.closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as other,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            other.execute("BEGIN IMMEDIATE")
            return True
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return False

    eventually(asleep)


def done(at_work: Works, prefix: str) -> bool:
    with at_work.sessions.reading() as session:
        query = sa.select(sa.func.count()).select_from(Schedule).join(Endpoint, Endpoint.id == Schedule.endpoint_id)
        return session.scalar(query.where(Endpoint.name.startswith(f"{prefix}-"), Schedule.scans == 0)) == 0


def starve(horse: int) -> None:
    """Not a byte more of memory than it has now."""
    used = int(Path(f"/proc/{horse}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(horse, resource.RLIMIT_AS, (used, used))


@pytest.mark.parametrize("fault", [kill, starve])
def test_a_work_horse_that_ends_in_the_middle_loses_nothing(at_work: Works, fault: Callable[[int], None]) -> None:
    made_before = in_the_middle(at_work, fault.__name__)
    worker, horse = at_work.running.pid_of("keychest: worker-scan of"), at_work.horse()
    fault(horse)
    await_all(at_work, fault.__name__, made_before)
    with contextlib.suppress(ProcessLookupError):
        kill(horse)  # Python waits for a thread that finds no memory to begin; the job's time limit, three minutes, would end that
    assert at_work.running.pid_of("keychest: worker-scan of") == worker  # its worker lives on


def test_a_broker_whose_password_was_changed_is_told_and_works_again_with_the_right_one(at_work: Works) -> None:
    broker = at_work.broker
    broker.config_set("requirepass", "another one")
    made_before = scans_made(at_work)
    broker.client_kill_filter(_type="normal", skipme=True)
    watch(at_work, "password")
    eventually(lambda: at_work.running.health()["broker"] == "bad")
    assert at_work.running.health()["status"] == "bad"
    with pytest.raises(redis.AuthenticationError):
        connect(at_work.broker_url).ping()
    broker.config_set("requirepass", "")
    broker.close()
    await_all(at_work, "password", made_before)


def test_a_broker_that_is_full_is_told_and_refuses_without_loss(at_work: Works) -> None:
    broker = at_work.broker
    room = str(broker.config_get("maxmemory")["maxmemory"])
    made_before = in_the_middle(at_work, "full")
    broker.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            broker.set("anything", "more")
        eventually(lambda: at_work.told()["status"] == "bad", within_s=40)  # its workers cannot say that they are there
    finally:
        broker.config_set("maxmemory", room)
        broker.close()
    await_all(at_work, "full", made_before)


def test_a_disk_that_fills_while_results_are_recorded_is_told_and_loses_none(tmp_path: Path) -> None:
    with disk(tmp_path / "small", 64 * MEGABYTE) as small, works(tmp_path / "rest", data=small.path / "data", lease_s=LEASE_S) as at_work:
        made_before = in_the_middle(at_work, "room")
        eventually(lambda: is_full(at_work, small))
        eventually(lambda: at_work.told()["status"] == "bad", within_s=40)
        assert 0 < scans_made(at_work) - made_before < NAMES
        small.resize(64 * MEGABYTE)
        await_all(at_work, "room", made_before)


def is_full(at_work: Works, small: Disk) -> bool:
    """Whether the database takes no more. What is written so far is moved into it first, so that it has no room of its own left.

    Its disk is filled after that: the room that moving gave back is as much as the work of a minute takes.
    """
    try:
        with at_work.sessions.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        small.fill()
        with at_work.sessions.writing() as session:
            beat(session, "monitor", pid=os.getpid(), now=datetime.now(UTC))
    except sa.exc.OperationalError as error:
        assert_told_as_full(str(error.orig))
        return True
    return False


def test_a_database_that_is_started_again_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with folder_of_its_own() as place, contextlib.ExitStack() as database:
        folder = place / "server"
        server = database.enter_context(running_postgres(folder))
        with works(tmp_path / "rest", url=server.empty(), lease_s=LEASE_S) as at_work:
            made_before = in_the_middle(at_work, "restart")
            at_work.sessions.engine.dispose()
            database.close()
            eventually(lambda: at_work.running.health()["database"] == "bad")
            database.enter_context(running_postgres(folder, port=server.port))
            await_all(at_work, "restart", made_before)
            at_work.sessions.engine.dispose()
