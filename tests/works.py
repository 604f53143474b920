"""An installation at work on hundreds of names whose server takes its time, and the oracle: every due scan done, every result once.

with works(folder) as at_work: watch(at_work, "a"); …; await_all(at_work, "a", made_before)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import redis
import sqlalchemy as sa
from OpenSSL import SSL

from core.actions.domains import add_domains
from core.actions.policy import Actor
from core.net.names import Listed
from core.store.db import Sessions, make_engine
from core.store.endpoints import Endpoint, ScanTally, Schedule
from core.store.observations import Current, Observation
from demo.pki import make_chain
from jobs.queues import connect
from portal.views.health import HEARTBEAT_S, health
from tests.dnsserver import bind9
from tests.make import make_actor
from tests.processes import eventually
from tests.servers import _server_context, raw_server
from tests.stage import OWNER, Installation, Street, children, installation, settings_for

NAMES: Final = 300
HELD_S: Final = 0.8
LEASE_S: Final = 8
AHEAD: Final = timedelta(seconds=HEARTBEAT_S - 8)
"""How far ahead the clock is of a monitor that looks: signs of life come every five seconds, and their absence is told so much sooner."""


@dataclass(frozen=True, slots=True)
class Works:
    """A running installation, a server that takes its time, and somebody who watches names."""

    running: Installation
    sessions: Sessions
    actor: Actor
    port: int

    def environment(self) -> dict[str, str]:
        """What another process is started with to work beside those of the installation."""
        return {**self.running.environment, "REDIS_URL": self.broker_url}

    @property
    def broker_url(self) -> str:
        return self.running.broker_url

    @property
    def broker(self) -> redis.Redis:
        """A connection of our own to the broker."""
        return connect(self.broker_url)

    def told(self) -> dict[str, Any]:
        """What /healthz would say in AHEAD from now if nobody gave a sign of life until then."""
        content, _ = health(self.sessions, self.broker_url, datetime.now(UTC) + AHEAD)
        return content

    def horse(self) -> int:
        """The process that scans at this moment: the work horse of the scanning worker."""
        return eventually(lambda: next(iter(children(self.running.pid_of("keychest: worker-scan of"))), 0))


@contextlib.contextmanager
def works(folder: Path, *, data: Path | None = None, url: str = "", lease_s: int = LEASE_S) -> Iterator[Works]:
    """One with its own server and DNS. `url`: its database, if not SQLite in `data`."""
    folder.mkdir(exist_ok=True)
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
        database = {"DATABASE_URL": url, "KEYCHEST_ENVIRONMENT": "development"} if url else {}
        settings = settings_for(Street(chain.root, resolver, {}), folder, KEYCHEST_SCAN_LEASE_S=str(lease_s), **database)
        running = stack.enter_context(installation(data or folder / "data", settings))
        running.await_health()
        sessions = Sessions(make_engine(url)) if url else running.sessions()
        with sessions.writing() as session:
            actor = make_actor(session, OWNER, now=datetime.now(UTC))
        try:
            yield Works(running, sessions, actor, port)
        finally:
            sessions.engine.dispose()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def watch(at_work: Works, prefix: str, *, names: int = NAMES) -> None:
    """Add names that nobody has looked at yet."""
    listed = [Listed(f"{prefix}-{number}.slow.test", at_work.port) for number in range(names)]
    with at_work.sessions.writing() as session:
        add_domains(session, at_work.actor, listed=listed, private_ranges=True, now=datetime.now(UTC))


def scans_made(at_work: Works) -> int:
    with at_work.sessions.reading() as session:
        return session.scalar(sa.select(sa.func.coalesce(sa.func.sum(ScanTally.made), 0))) or 0


def await_the_middle(at_work: Works, made_before: int) -> None:
    """Until some are recorded and some are not."""
    eventually(lambda: 0 < scans_made(at_work) - made_before < NAMES, within_s=60)


def await_all(at_work: Works, prefix: str, made_before: int) -> None:
    """The oracle: N done, N recorded, N observations, N current, N in the tally, nothing in hand; and the installation is well."""
    mine = Endpoint.name.startswith(f"{prefix}-")

    def count(what: sa.ColumnElement[Any], table: Any, *where: sa.ColumnElement[bool]) -> int:
        with at_work.sessions.reading() as session:
            query = sa.select(what).select_from(table).join(Endpoint, Endpoint.id == table.endpoint_id).where(mine, *where)
            return int(session.execute(query).scalar() or 0)

    eventually(lambda: count(sa.func.count(), Schedule, Schedule.scans > 0) == NAMES, within_s=120)
    eventually(lambda: count(sa.func.count(), Schedule, Schedule.lease_until.is_not(None)) == 0, within_s=30)
    assert count(sa.func.sum(Schedule.scans), Schedule) == NAMES
    assert count(sa.func.count(), Observation) == NAMES
    assert count(sa.func.count(), Observation, Observation.leaf_sha256.is_not(None)) == NAMES
    assert count(sa.func.count(), Current) == NAMES
    assert scans_made(at_work) - made_before == NAMES
    at_work.running.await_health()
