"""The same installation on PostgreSQL, whose server goes away in the middle and comes back."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.domains import add_domains
from core.net.names import Listed
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from core.store.watches import Watch
from tests.make import make_actor
from tests.postgres import folder_of_its_own, programs, running_postgres
from tests.processes import eventually
from tests.stage import OWNER, installation, settings_for, street

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_database_that_goes_away_is_told_and_what_was_asked_for_is_done_when_it_is_back(tmp_path: Path) -> None:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with street() as servers, folder_of_its_own() as place, contextlib.ExitStack() as database:
        folder = place / "server"
        with running_postgres(folder) as server:
            port, url = server.port, server.empty()
        settings = settings_for(servers, tmp_path, DATABASE_URL=url, KEYCHEST_ENVIRONMENT="development", KEYCHEST_SCAN_LEASE_S="5")
        database.enter_context(running_postgres(folder, port=port))
        with installation(tmp_path / "data", settings) as running:
            running.await_health()
            sessions = Sessions(make_engine(url))
            with sessions.writing() as session:
                actor = make_actor(session, OWNER, now=datetime.now(UTC))
                listed = [Listed(f"{name}.kc.test", number) for name, number in servers.ports.items()]
                add_domains(session, actor, listed=listed, private_ranges=True, now=datetime.now(UTC))
            eventually(lambda: "live" not in states(sessions), within_s=30)
            assert sorted(states(sessions)) == ["bad", "bad", "bad", "ok", "soon", "soon", "unk"]
            with sessions.writing() as session:
                session.execute(sa.update(Schedule).values(next_scan_at=datetime.now(UTC), urgent=True))
            sessions.engine.dispose()

            database.close()
            eventually(lambda: running.health().get("database") != "ok", within_s=30)
            code, text = page(f"{running.url}/setup/some-link")
            assert code == 503
            assert "database" in text.lower()

            with running_postgres(folder, port=port):
                running.await_health()
                eventually(lambda: min(scans(sessions)) >= 2, within_s=60)  # what was due is done
                assert page(f"{running.url}/setup/some-link")[0] != 503
                sessions.engine.dispose()


def states(sessions: Sessions) -> list[str]:
    with sessions.reading() as session:
        return list(session.scalars(sa.select(Watch.state)))


def scans(sessions: Sessions) -> list[int]:
    with sessions.reading() as session:
        return list(session.scalars(sa.select(Schedule.scans)))


def page(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
