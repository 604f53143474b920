"""The clock and strangers' questions, over a real broker: handed out together and once, again when they were lost, deleted after a day."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.actions.spot_checks import Visitor, ask_spot_check
from core.net.names import Listed
from core.net.optout import OptedOut
from core.store.db import Sessions
from core.store.spot_checks import KEPT, SpotCheck
from jobs.clock import CALL_AGAIN, NOW_WAITING, SPOT_BATCH, Clock
from jobs.queues import enqueue, queue
from tests.workbench import Bench

pytestmark = pytest.mark.slow
BEGAN = datetime(2026, 11, 25, 12, tzinfo=UTC)


def handed_out(bench: Bench) -> list[tuple[Any, ...]]:
    waiting = queue(bench.connection, "now")
    jobs: list[Any] = waiting.get_jobs()
    waiting.empty()  # type: ignore[no-untyped-call]  # RQ does not type it
    return [tuple(job.ids) for job in jobs if job.name == "spot_checks"]


def test_questions_are_handed_out_together_once_and_again_when_lost_and_deleted_after_a_day(bench: Bench) -> None:
    sessions, moment = Sessions(bench.engine), [BEGAN]
    clock = Clock(sessions, bench.connection, lambda: moment[0], timedelta(minutes=5))
    with sessions.writing() as session:
        for number in range(SPOT_BATCH + 5):
            visitor = Visitor.at(f"10.{number}.0.1", "k" * 32)
            ask_spot_check(session, listed=Listed(f"n{number}.example", 443), visitor=visitor, opted_out=OptedOut(), now=BEGAN)
    clock.tick()
    assert handed_out(bench) == [tuple(range(1, SPOT_BATCH + 1))]
    clock.tick()
    assert handed_out(bench) == []  # those are on their way, and the rest waits for its turn
    moment[0] += CALL_AGAIN
    clock.tick()
    assert handed_out(bench) == [tuple(range(1, SPOT_BATCH + 1))]
    moment[0] = BEGAN + KEPT
    clock.tick()
    with sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(SpotCheck)) == 0


def test_where_many_scans_wait_already_questions_wait_too(bench: Bench) -> None:
    sessions = Sessions(bench.engine)
    with sessions.writing() as session:
        visitor = Visitor.at("192.0.2.1", "k" * 32)
        ask_spot_check(session, listed=Listed("a.example", 443), visitor=visitor, opted_out=OptedOut(), now=BEGAN)
    for number in range(NOW_WAITING):
        enqueue(bench.connection, "now", "scan_batch", [number, 1])
    clock = Clock(sessions, bench.connection, lambda: BEGAN, timedelta(minutes=5))
    clock.tick()
    assert handed_out(bench) == []
    clock.tick()
    assert handed_out(bench) == [(1,)]
