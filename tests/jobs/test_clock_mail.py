"""The clock and mail, over a real broker: long work on the same queue holds no warning up for longer than half a minute."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.actions.letters import tell_by_mail
from core.store.db import Sessions
from jobs.clock import MAIL_WAITS, NOW_WAITING, Clock
from jobs.queues import enqueue, queue
from tests.workbench import Bench

pytestmark = pytest.mark.slow
BEGAN = datetime(2026, 11, 25, 12, tzinfo=UTC)
TICK = timedelta(seconds=1)


def taken(bench: Bench, name: str) -> list[str]:
    """What waits there but for what is due each hour; nothing waits from then on, as if a worker had it all."""
    waiting = queue(bench.connection, name)
    jobs: list[Any] = waiting.get_jobs()
    waiting.empty()  # type: ignore[no-untyped-call]  # RQ does not type it
    return [job.name for job in jobs if job.name not in {"look", "purge", "sweep_files"}]


def clock_at(bench: Bench, moment: list[datetime]) -> Clock:
    """A clock whose mail is due, and that has nothing else to hand out."""
    sessions = Sessions(bench.engine)
    with sessions.writing() as session:
        tell_by_mail(session, "mira@example.org", "Something is wrong", "It is.", account_id=None, now=BEGAN)
    clock = Clock(sessions, bench.connection, lambda: moment[0], timedelta(minutes=5))
    clock.tick()
    assert "send_letters" in taken(bench, "ops")
    assert taken(bench, "now") == []
    return clock


def test_mail_that_stands_behind_long_work_takes_another_way_after_a_moment(bench: Bench) -> None:
    moment = [BEGAN]
    clock = clock_at(bench, moment)  # a worker took the mail, and was killed: it is due still
    enqueue(bench.connection, "ops", "export", [1])
    enqueue(bench.connection, "ops", "export", [2])
    for _ in range(30):
        clock.tick()
        moment[0] += TICK
        assert taken(bench, "now") == []
    clock.tick()
    assert taken(bench, "now") == ["send_letters"]
    moment[0] += MAIL_WAITS - TICK
    clock.tick()
    assert taken(bench, "now") == [], "once in half a minute is enough"
    moment[0] += TICK
    clock.tick()
    assert taken(bench, "now") == ["send_letters"]
    assert taken(bench, "ops") == ["export", "export"]
    clock.tick()
    assert taken(bench, "ops") == ["send_letters"], "nothing stands there any more"


def test_where_many_scans_wait_already_mail_waits_too(bench: Bench) -> None:
    moment = [BEGAN]
    clock = clock_at(bench, moment)
    enqueue(bench.connection, "ops", "export", [1])
    for number in range(NOW_WAITING):
        enqueue(bench.connection, "now", "scan_batch", [number, 1])
    clock.tick()
    moment[0] += 2 * MAIL_WAITS
    clock.tick()
    assert "send_letters" not in taken(bench, "now")
    clock.tick()
    assert taken(bench, "now") == ["send_letters"]
