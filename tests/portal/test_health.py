"""What /healthz says of a real database and a real broker, well, away and hanging."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import broker
from core.actions.heartbeats import beat
from core.broker import answers
from core.store import schema
from core.store.db import Sessions, make_engine
from core.store.endpoints import Endpoint, Schedule
from portal.views.health import OVERDUE_S, WORKERS, health
from tests.processes import eventually

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAMES = ("clock", *(f"worker.{queue}" for queue in WORKERS))


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    engine = make_engine(f"sqlite:///{tmp_path / 'keychest.db'}")
    schema.upgrade(engine)
    yield Sessions(engine)
    engine.dispose()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    own = broker.prepare(tmp_path)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    eventually(lambda: answers(own.url))
    yield own.url
    process.kill()
    process.wait()
    broker.tidy(own)


def all_beat(sessions: Sessions, **ages_s: float) -> None:
    with sessions.writing() as session:
        for name in NAMES:
            beat(session, name, pid=1, now=NOW - timedelta(seconds=ages_s.get(name.replace(".", "_"), 5)))


def due(sessions: Sessions, age_s: float, *, watchers: int = 1) -> None:
    with sessions.writing() as session:
        endpoint = Endpoint(name="example.org", port=443, created_at=NOW)
        session.add(endpoint)
        session.flush()
        at = NOW - timedelta(seconds=age_s)
        session.add(Schedule(endpoint_id=endpoint.id, perspective="local", next_scan_at=at, watchers=watchers))


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_all_is_well(sessions: Sessions, redis_url: str) -> None:
    all_beat(sessions)
    due(sessions, 12)
    assert health(sessions, redis_url, NOW) == (
        {
            "status": "ok",
            "database": "ok",
            "broker": "ok",
            "workers": {"now": {"age_s": 5.0}, "scan": {"age_s": 5.0}, "ops": {"age_s": 5.0}},
            "clock": {"age_s": 5.0},
            "oldest_overdue_scan_s": 12.0,
        },
        200,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_is_silent_for_too_long(sessions: Sessions, redis_url: str, name: str) -> None:
    all_beat(sessions, **{name.replace(".", "_"): 30})
    assert health(sessions, redis_url, NOW)[1] == 200
    all_beat(sessions, **{name.replace(".", "_"): 30.1})
    content, status = health(sessions, redis_url, NOW)
    assert (content["status"], content["database"], status) == ("bad", "ok", 503)


@pytest.mark.slow
def test_a_process_that_never_said_anything(sessions: Sessions, redis_url: str) -> None:
    content, status = health(sessions, redis_url, NOW)
    assert (content["clock"]["age_s"], content["oldest_overdue_scan_s"], status) == (None, None, 503)


@pytest.mark.slow
def test_a_scan_that_waits_for_too_long(sessions: Sessions, redis_url: str) -> None:
    all_beat(sessions)
    due(sessions, OVERDUE_S + 1)
    content, status = health(sessions, redis_url, NOW)
    assert (content["oldest_overdue_scan_s"], content["status"], status) == (OVERDUE_S + 1, "bad", 503)


@pytest.mark.slow
def test_a_scan_that_nobody_wants_does_not_count(sessions: Sessions, redis_url: str) -> None:
    all_beat(sessions)
    due(sessions, OVERDUE_S + 1, watchers=0)
    assert health(sessions, redis_url, NOW)[1] == 200


@pytest.mark.slow
def test_the_broker_is_away(sessions: Sessions, tmp_path: Path) -> None:
    all_beat(sessions)
    for url in (f"unix://{tmp_path}/nobody.sock", "redis://127.0.0.1:1/0", ""):
        content, status = health(sessions, url, NOW)
        assert (content["broker"], content["database"], status) == ("bad", "ok", 503)


def test_the_database_is_away(tmp_path: Path, redis_url: str) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'no' / 'such.db'}")
    content, status = health(Sessions(engine), redis_url, NOW)
    assert (content["broker"], content["database"], status) == ("ok", "bad", 503)
    engine.dispose()


@pytest.mark.slow
def test_nothing_that_hangs_holds_it_up(sessions: Sessions) -> None:
    all_beat(sessions)
    with silent() as address:
        began = time.monotonic()
        content, status = health(sessions, f"redis://{address}/0", NOW)
        assert (content["broker"], status) == ("bad", 503)
        hanging = sa.create_engine(f"postgresql+psycopg://me@{address}/k", connect_args={"connect_timeout": 30})
        content, status = health(Sessions(hanging), f"redis://{address}/0", NOW)
        assert (content["database"], content["workers"]["now"]["age_s"], status) == ("bad", None, 503)
        assert time.monotonic() - began < 8
        hanging.dispose()
