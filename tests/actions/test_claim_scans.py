"""What the clock asks: a claim takes what it found and nothing beside it, and finds what is urgent without reading all that is due."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import event

from core.actions.claim_scans import Claimed, claim_due
from core.perspective import LOCAL
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from tests.make import NOW, make_actor, make_watches

LEASE = timedelta(minutes=3)
AWAY = "away"


def claim(sessions: Sessions, *, perspective: str = LOCAL, urgent: bool = True, most: int = 10) -> list[Claimed]:
    with sessions.writing() as session:
        return claim_due(session, perspective=perspective, urgent=urgent, most=most, lease=LEASE, now=NOW)


def test_a_claim_takes_the_row_of_its_own_perspective(sessions: Sessions) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example", "b.example")
        for endpoint_id in list(session.scalars(sa.select(Schedule.endpoint_id))):
            session.add(Schedule(endpoint_id=endpoint_id, perspective=AWAY, next_scan_at=NOW, urgent=True, watchers=1))
    taken = claim(sessions, perspective=AWAY)
    with sessions.reading() as session:
        in_hand = set(session.execute(sa.select(Schedule.endpoint_id, Schedule.perspective).where(Schedule.lease_until.is_not(None))))
    assert in_hand == {(claimed.endpoint_id, AWAY) for claimed in taken}
    assert len(taken) == 2
    assert [claimed.endpoint_id for claimed in claim(sessions)] == [claimed.endpoint_id for claimed in taken]


def test_a_claim_takes_no_more_than_it_may_and_the_oldest_first(sessions: Sessions) -> None:
    with sessions.writing() as session:
        make_watches(session, make_actor(session), *(f"n{number}.example" for number in range(5)))
        rows = list(session.scalars(sa.select(Schedule).order_by(Schedule.endpoint_id)))
        for age, row in enumerate(rows):
            row.next_scan_at = NOW - timedelta(minutes=age)
        oldest = sorted(row.endpoint_id for row in rows[3:])
    assert [claimed.endpoint_id for claimed in claim(sessions, most=2)] == oldest


def test_what_is_urgent_is_found_in_an_index_of_its_own(sqlite_url: str) -> None:
    sessions = Sessions(make_engine(sqlite_url))
    with plans(sessions) as told:
        claim(sessions, urgent=True)
        claim(sessions, urgent=False)
    (urgent, ordinary) = told
    assert "ix_schedule_urgent" in urgent
    assert "ix_schedule_due" not in urgent
    assert "ix_schedule_due" in ordinary
    sessions.engine.dispose()


@contextmanager
def plans(sessions: Sessions) -> Iterator[list[str]]:
    """How SQLite answers each UPDATE that is sent meanwhile."""
    told: list[str] = []

    def explain(*sent: object) -> None:
        connection, _cursor, statement, parameters, *_ = sent
        if "UPDATE schedule" in str(statement) and isinstance(connection, sa.Connection) and isinstance(parameters, tuple):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            told.append("\n".join(row[3] for row in cursor.fetchall()))
            cursor.close()

    event.listen(sessions.engine, "before_cursor_execute", explain)
    yield told
    event.remove(sessions.engine, "before_cursor_execute", explain)
