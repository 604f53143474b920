"""A lease is renewed while work goes on, and never given back to work that has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.actions.chores import end_chore, take_chore
from core.store.backups import Chore
from core.store.db import Sessions, make_engine
from jobs import lease
from tests.backups import Yard
from tests.processes import eventually


@pytest.fixture
def yard(sqlite_url: str, tmp_path: Path) -> Iterator[Yard]:
    made = Yard(Sessions(make_engine(sqlite_url)), tmp_path, datetime.now(UTC))
    yield made
    made.sessions.engine.dispose()


def test_it_is_renewed_and_not_revived(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_RENEWED_S", 0.02)
    now, rounds = yard.context.now(), []

    def tell() -> datetime:
        rounds.append(1)
        return now

    def until() -> datetime | None:
        with yard.sessions.reading() as session:
            return session.get_one(Chore, "look").lease_until

    with yard.sessions.writing() as session:
        taken = take_chore(session, "look", lease=timedelta(seconds=1), now=now, anyway=True)
    assert taken is not None
    with lease.kept(replace(yard.context, now=tell), taken):
        eventually(lambda: until() == now + lease.LEASE)
        with yard.sessions.writing() as session:
            assert end_chore(session, taken, next_at=None, now=now)
        ended = len(rounds)
        eventually(lambda: len(rounds) > ended + 2)
    assert until() is None
