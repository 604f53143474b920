"""What breaks, breaks in the middle of the work; the oracle is a number: every due scan done, every result once, nothing lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from OpenSSL import SSL

from core.actions.domains import add_domains
from core.actions.policy import Actor
from core.net.names import Listed
from core.store.db import Sessions
from core.store.endpoints import Endpoint, ScanTally, Schedule
from core.store.observations import Current, Observation
from demo.pki import make_chain
from jobs.queues import connect, enqueue
from tests.dnsserver import bind9
from tests.make import make_actor
from tests.processes import eventually
from tests.servers import _server_context, raw_server
from tests.stage import OWNER, Installation, Street, installation, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]
NAMES = 300
HELD_S = 0.8


@dataclass(frozen=True, slots=True)
class Works:
    """A running installation, a server that takes its time, and somebody who watches names."""

    running: Installation
    sessions: Sessions
    actor: Actor
    port: int

    @property
    def broker(self) -> redis.Redis:
        """A connection of our own to the embedded broker."""
        environ = Path(f"/proc/{self.running.pid_of('jobs.clock')}/environ").read_bytes().split(b"\0")
        return connect(next(entry for entry in environ if entry.startswith(b"REDIS_URL=")).decode().partition("=")[2])


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    folder = tmp_path_factory.mktemp("faults")
    chain = make_chain(["*.slow.test"])
    context = _server_context(chain.pem, chain.key_pem, b"ALL")

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        ended.wait(HELD_S)
        connection.settimeout(None)
        tls = SSL.Connection(context, connection)
        tls.set_accept_state()
        tls.do_handshake()

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(raw_server(behave)).port
        resolver = stack.enter_context(bind9({"slow.test": "* A 127.0.0.1"}))
        settings = settings_for(Street(chain.root, resolver, {}), folder, KEYCHEST_SCAN_LEASE_S="8")
        running = stack.enter_context(installation(folder / "data", settings))
        running.await_health()
        sessions = running.sessions()
        with sessions.writing() as session:
            actor = make_actor(session, OWNER, now=datetime.now(UTC))
        yield Works(running, sessions, actor, port)
        sessions.engine.dispose()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_scanning_worker(works: Works) -> None:
    kill(works.running.pid_of("jobs.worker", " scan"))


def kill_urgent_worker(works: Works) -> None:
    kill(works.running.pid_of("jobs.worker", " now"))


def kill_clock(works: Works) -> None:
    kill(works.running.pid_of("jobs.clock"))


def kill_broker(works: Works) -> None:
    kill(works.running.pid_of("valkey"))


def flush(works: Works) -> None:
    works.broker.flushall()


def enqueue_forty_times(works: Works) -> None:
    with works.sessions.reading() as session:
        rows = session.execute(sa.select(Schedule.endpoint_id, Schedule.claim).where(Schedule.lease_until.is_not(None)).limit(100)).all()
    ids = [number for row in rows for number in row]
    assert ids
    for _ in range(40):
        enqueue(works.broker, "scan", "scan_batch", ids)


def everything(works: Works) -> None:
    for fault in (flush, kill_scanning_worker, kill_clock, kill_urgent_worker, kill_broker):
        fault(works)


FAULTS: tuple[Callable[[Works], None], ...] = (
    kill_scanning_worker,
    kill_urgent_worker,
    kill_clock,
    kill_broker,
    flush,
    enqueue_forty_times,
    everything,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_due_scan_is_done_and_recorded_once(works: Works, fault: Callable[[Works], None]) -> None:
    made_before = scans_made(works)
    watch(works, fault.__name__.replace("_", "-"))
    eventually(lambda: 0 < scans_made(works) - made_before < NAMES, within_s=60)  # in the middle of it
    fault(works)
    await_all(works, fault.__name__.replace("_", "-"), made_before)


def test_two_clocks_hand_nothing_out_twice(works: Works) -> None:
    environ = dict(
        entry.decode().split("=", 1)
        for entry in Path(f"/proc/{works.running.pid_of('jobs.clock')}/environ").read_bytes().split(b"\0")
        if b"=" in entry
    )
    made_before = scans_made(works)
    with subprocess.Popen([sys.executable, "-m", "jobs.clock"], env=environ, cwd=Path(__file__).parents[2]) as second:
        try:
            watch(works, "two-clocks")
            await_all(works, "two-clocks", made_before)
        finally:
            second.terminate()
            assert second.wait(20) == 0


def watch(works: Works, prefix: str) -> None:
    listed = [Listed(f"{prefix}-{number}.slow.test", works.port) for number in range(NAMES)]
    with works.sessions.writing() as session:
        add_domains(session, works.actor, listed=listed, private_ranges=True, now=datetime.now(UTC))


def scans_made(works: Works) -> int:
    with works.sessions.reading() as session:
        return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(ScanTally.made), 0))) or 0


def await_all(works: Works, prefix: str, made_before: int) -> None:
    """The oracle: N done, N recorded, N observations, N current, N in the tally, nothing in hand; and the installation is well."""
    mine = Endpoint.name.startswith(f"{prefix}-")

    def count(what: sa.ColumnElement[Any], table: Any, *where: sa.ColumnElement[bool]) -> int:
        with works.sessions.reading() as session:
            query = sa.select(what).select_from(table).join(Endpoint, Endpoint.id == table.endpoint_id).where(mine, *where)
            return int(session.execute(query).scalar() or 0)

    eventually(lambda: count(sa.func.count(), Schedule, Schedule.scans > 0) == NAMES, within_s=120)
    eventually(lambda: count(sa.func.count(), Schedule, Schedule.lease_until.is_not(None)) == 0, within_s=30)
    assert count(sa.func.sum(Schedule.scans), Schedule) == NAMES
    assert count(sa.func.count(), Observation) == NAMES
    assert count(sa.func.count(), Observation, Observation.leaf_sha256.is_not(None)) == NAMES
    assert count(sa.func.count(), Current) == NAMES
    assert scans_made(works) - made_before == NAMES
    works.running.await_health()
