"""A mail is sent once: not lost and not doubled when the worker that sends it is killed, or asked forty times."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.actions.domains import add_domains
from core.net.names import Listed
from core.store.incidents import Notice
from demo.pki import make_chain
from jobs.queues import connect, enqueue
from tests.dnsserver import bind9
from tests.make import make_actor
from tests.processes import eventually
from tests.servers import tls_server
from tests.stage import OWNER, Sink, Street, children, command, installation, settings_for, smtp_sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
NAMES = 9  # one mail each; from ten on they come as one


def test_each_notice_is_told_once_though_its_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: Any = Sink.handle_DATA

    async def slowly(self: Sink, *words: object) -> object:
        time.sleep(0.4)  # noqa: ASYNC251 - the server itself is slow, so that a worker is killed while it waits
        return await taken(self, *words)

    monkeypatch.setattr(Sink, "handle_DATA", slowly)
    chain = make_chain(["another.example"])
    with (
        tls_server(chain.pem, chain.key_pem) as server,
        bind9({"kc.test": "* A 127.0.0.1"}) as resolver,
        smtp_sink() as sink,
        installation(tmp_path / "data", settings_for(Street(chain.root, resolver, {}), tmp_path, KEYCHEST_SMTP_URL=sink.url)) as running,
    ):
        running.await_health()
        sessions = running.sessions()
        with sessions.writing() as session:
            actor = make_actor(session, OWNER, now=datetime.now(UTC))
            listed = [Listed(f"n{number}.kc.test", server.port) for number in range(NAMES)]
            add_domains(session, actor, listed=listed, private_ranges=True, now=datetime.now(UTC))
        broker = connect(running.broker_url)
        eventually(lambda: len(sink.mails) >= 2, within_s=60)
        killed = running.pid_of("keychest: worker-ops of")
        horses = children(killed)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not any(command(pid) for pid in (killed, *horses)))
        with sessions.writing() as session:  # the leases of the dead run out: here at once
            session.execute(sa.update(Notice).where(Notice.handed_at.is_(None)).values(lease_until=None))
        for _ in range(40):
            enqueue(broker, "ops", "send_notices", [])

        def settled() -> bool:
            with sessions.reading() as session:
                notices = session.scalars(sa.select(Notice)).all()
                return len(notices) == NAMES and all(notice.handed_at is not None for notice in notices)

        eventually(settled, within_s=90)

        def unsure() -> int:
            """Handed over, and no answer noted: those in a living worker's hand among them, for as long as that takes."""
            with sessions.reading() as session:
                return session.scalar(sa.select(sa.func.count()).where(Notice.handed_at.is_not(None), Notice.sent_at.is_(None))) or 0

        eventually(lambda: unsure() <= 1, within_s=60)  # the one that the killed worker had in hand stays
        running.await_health()
        eventually(lambda: len(sink.mails) >= NAMES - unsure())
        seen = Counter(str(mail["Message-ID"]) for _, mail in sink.mails)
        sessions.engine.dispose()
    assert set(seen.values()) == {1}
    assert NAMES - 1 <= len(seen) <= NAMES
