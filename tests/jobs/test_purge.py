"""The bin's end as a worker brings it about: by its own login, after a real backup was restored and compared."""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from config import Settings
from core.actions.chores import plan_chores
from core.actions.domains import remove_watches
from core.actions.policy import Actor
from core.store.backups import Chore, chores_due
from core.store.db import Sessions, make_engine
from core.store.public_incidents import Subscriber
from core.store.watches import Watch
from jobs.purge import AGAIN, EVERY, purge
from jobs.worker import purge_url
from tests.backups import Yard
from tests.make import make_actor, make_watches


@pytest.fixture
def yard(sqlite_url: str, tmp_path: Path) -> Yard:
    """An account with two names, one of which lies in the bin for 31 days."""
    yard = Yard(Sessions(make_engine(sqlite_url)), tmp_path)
    then = yard.at - timedelta(days=31)
    with yard.sessions.writing() as session:
        owner: Actor = make_actor(session, now=then)
        refs = [added.ref for added in make_watches(session, owner, "old.example", "kept.example", now=then)]
        remove_watches(session, owner, refs=refs[:1], now=then)
        plan_chores(session, yard.at)
    return yard


def run(yard: Yard, url: str) -> tuple[list[str], timedelta]:
    """The names that are left, in the bin or not, and when it falls due again."""
    purge(dataclasses.replace(yard.context, purge_url=url))
    with yard.sessions.reading() as session:
        next_at = session.scalars(sa.select(Chore.next_at).where(Chore.name == "purge")).one()
        assert next_at is not None
        return sorted(session.scalars(sa.select(Watch.name))), next_at.astimezone(UTC) - yard.at


@pytest.mark.slow
def test_it_waits_for_a_proven_backup_and_comes_once_a_day(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    url = yard.sessions.engine.url.render_as_string(hide_password=False)
    with caplog.at_level(logging.WARNING, "keychest.purge"):
        assert run(yard, url) == (["kept.example", "old.example"], AGAIN)
    assert "No backup of the last 24 hours is proven" in caplog.text
    yard.back_up()
    yard.pass_time(AGAIN)
    assert run(yard, url) == (["kept.example", "old.example"], AGAIN), "a backup that was not restored proves nothing"
    assert yard.drill().state == "passed"
    yard.pass_time(AGAIN)
    assert run(yard, url) == (["kept.example"], EVERY)
    with yard.sessions.reading() as session:
        assert "purge" not in chores_due(session, yard.at)


@pytest.mark.slow
def test_without_its_own_login_nothing_leaves_the_bin(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard.back_up()
    yard.drill()
    assert run(yard, "") == (["kept.example", "old.example"], AGAIN)
    assert "DATABASE_URL_PURGE is not set" in caplog.text


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, ""),
        ({"DATABASE_URL_PURGE": "postgresql://purge@db.example/kc"}, "postgresql+psycopg://purge@db.example/kc"),
        ({"KEYCHEST_ENVIRONMENT": "development"}, "postgresql+psycopg://all@db.example/kc"),
    ],
)
def test_in_production_there_is_no_login_but_its_own(extra: dict[str, str], expected: str) -> None:
    worker = "" if "KEYCHEST_ENVIRONMENT" in extra else "postgresql://worker@db.example/kc"
    environment = {"DATABASE_URL": "postgresql://all@db.example/kc", "KEYCHEST_SECRET_KEY": "k" * 32}
    assert purge_url(Settings.from_environment(environment | ({"DATABASE_URL_WORKER": worker} if worker else {}) | extra)) == expected


def test_addresses_that_nobody_confirmed_go_without_a_proven_backup(yard: Yard) -> None:
    with yard.sessions.writing() as session:
        for days in (6, 8):
            at = yard.at - timedelta(days=days)
            session.add(Subscriber(ref=f"{days}", email=f"{days}@example.net", asked_at=at, confirmed_at=None, left_at=None))
    assert run(yard, yard.sessions.engine.url.render_as_string(hide_password=False))[0] == ["kept.example", "old.example"]
    with yard.sessions.reading() as session:
        assert session.scalars(sa.select(Subscriber.ref)).all() == ["6"]
