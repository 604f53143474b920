"""What breaks, breaks in the middle of the work; the oracle is a number: every due scan done, every result once, nothing lost.

Clock, urgent worker and broker are killed together, as the last fault; with EVERY_STEP=1 each by itself as well.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from core.store.endpoints import Schedule
from jobs.queues import enqueue
from tests.conftest import ROOT
from tests.steps import seldom
from tests.works import Works, await_all, await_the_middle, kill, scans_made, watch, works

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    with works(tmp_path_factory.mktemp("faults")) as running:
        yield running


def kill_scanning_worker(at_work: Works) -> None:
    kill(at_work.running.pid_of("keychest: worker-scan of"))


def kill_urgent_worker(at_work: Works) -> None:
    kill(at_work.running.pid_of("keychest: worker-now of"))


def kill_clock(at_work: Works) -> None:
    kill(at_work.running.pid_of("keychest: clock of"))


def kill_broker(at_work: Works) -> None:
    kill(at_work.running.pid_of("valkey"))


def flush(at_work: Works) -> None:
    at_work.broker.flushall()


def enqueue_forty_times(at_work: Works) -> None:
    with at_work.sessions.reading() as session:
        rows = session.execute(sa.select(Schedule.endpoint_id, Schedule.claim).where(Schedule.lease_until.is_not(None)).limit(100)).all()
    ids = [number for row in rows for number in row]
    assert ids
    for _ in range(40):
        enqueue(at_work.broker, "scan", "scan_batch", ids)


def everything(at_work: Works) -> None:
    for fault in (flush, kill_scanning_worker, kill_clock, kill_urgent_worker, kill_broker):
        fault(at_work)


FAULTS = (
    kill_scanning_worker,
    pytest.param(kill_urgent_worker, marks=seldom),
    pytest.param(kill_clock, marks=seldom),
    pytest.param(kill_broker, marks=seldom),
    flush,
    enqueue_forty_times,
    everything,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_due_scan_is_done_and_recorded_once(at_work: Works, fault: Callable[[Works], None]) -> None:
    made_before = scans_made(at_work)
    watch(at_work, fault.__name__.replace("_", "-"))
    await_the_middle(at_work, made_before)
    fault(at_work)
    await_all(at_work, fault.__name__.replace("_", "-"), made_before)


def test_two_clocks_hand_nothing_out_twice(at_work: Works) -> None:
    made_before = scans_made(at_work)
    with subprocess.Popen([sys.executable, "-m", "jobs.clock"], env=at_work.environment(), cwd=ROOT) as second:
        try:
            watch(at_work, "two-clocks")
            await_all(at_work, "two-clocks", made_before)
        finally:
            second.terminate()
            assert second.wait(20) == 0
