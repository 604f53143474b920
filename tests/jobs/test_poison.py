"""A certificate that kills the process that reads it: the others of its batch are scanned all the same, and it is told.

No such certificate is known. A marked one stands for it: the worker here aborts itself where it reads that one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from core.actions.claim_scans import claim_due
from core.actions.domains import add_domains
from core.net.names import Listed
from core.perspective import LOCAL
from core.store.db import Sessions
from core.store.endpoints import Schedule
from core.store.watches import Watch
from demo.pki import make_chain
from jobs.queues import enqueue
from tests.dnsserver import bind9
from tests.jobs.conftest import running_bench
from tests.make import make_actor
from tests.processes import eventually
from tests.servers import tls_server
from tests.workbench import PROJECT, Bench

pytestmark = pytest.mark.slow
NAMES: Final = 12
BAD: Final = "n8.kc.test"
"""It is the eleventh by name: halving twelve comes down to it by way of six, three, two and one."""
MARKED: Final = "Kills Whoever Reads It"
WORKER: Final = f"""
import os, sys
from core.scanner import certificate, handshake, verdict
def read(der, known=certificate.known_certificate):
    if {MARKED!r}.encode() in der:
        os.abort()
    return known(der)
certificate.known_certificate = handshake.known_certificate = verdict.known_certificate = read
from jobs import worker
sys.exit(worker.main(["scan"]))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running_bench(tmp_path) as bench:
        yield bench


def test_one_poisonous_answer_costs_no_other_and_is_told(bench: Bench) -> None:
    good, bad = make_chain(["*.kc.test"]), make_chain([BAD], organisation=MARKED)
    zone = "\n".join(f"n{number} A 127.0.0.{2 if f'n{number}.kc.test' == BAD else 1}" for number in range(NAMES))
    with (
        tls_server(good.pem, good.key_pem) as server,
        tls_server(bad.pem, bad.key_pem, address="127.0.0.2", port=server.port),
        bind9({"kc.test": zone}) as resolver,
    ):
        sessions, now = Sessions(bench.engine), datetime.now(UTC)
        with sessions.writing() as session:
            listed = [Listed(f"n{number}.kc.test", server.port) for number in range(NAMES)]
            add_domains(session, make_actor(session, now=now), listed=listed, private_ranges=True, now=now)
        with sessions.writing() as session:
            claims = claim_due(session, perspective=LOCAL, urgent=True, most=99, lease=timedelta(minutes=9), now=now)
        enqueue(bench.connection, "scan", "scan_batch", [number for claimed in claims for number in (claimed.endpoint_id, claimed.claim)])
        (bench.data / "roots.pem").write_bytes(good.root.pem)
        allowed = {
            "KEYCHEST_SCAN_ALLOW": "127.0.0.0/8",
            "KEYCHEST_SCAN_ALLOW_ACCOUNTS": "mira@example.org",
            "KEYCHEST_RESOLVERS": resolver,
            "KEYCHEST_EXTRA_ROOTS": str(bench.data / "roots.pem"),
        }
        with (bench.data / "worker.log").open("ab") as log:
            words = [sys.executable, "-c", WORKER]
            worker = subprocess.Popen(words, env=bench.environment | allowed, stdout=log, stderr=log, start_new_session=True, cwd=PROJECT)
        bench.workers.append(worker)
        eventually(lambda: _left(sessions) == 0, within_s=60)
        assert worker.poll() is None
    with sessions.reading() as session:
        told = {name: (state, sentence) for name, state, sentence in session.execute(sa.select(Watch.name, Watch.state, Watch.sentence))}
        made = session.scalars(sa.select(Schedule.scans)).all()
    state, sentence = told.pop(BAD)
    assert state == "unk"
    assert sentence.startswith("What this server sent ended the process that read it")
    assert [state for state, _ in told.values()] == ["ok"] * (NAMES - 1)
    assert made == [1] * NAMES


def _left(sessions: Sessions) -> int:
    with sessions.reading() as session:
        return session.scalar(sa.select(sa.func.count()).where(Schedule.lease_until.is_not(None))) or 0
