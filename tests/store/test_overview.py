from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from core.perspective import LOCAL
from core.store.db import Sessions
from core.store.endpoints import Endpoint, ScanGap, ScanTally
from core.store.overview import first_of_each_state, looked, open_incidents
from demo.pki import make_chain
from tests.make import NOW, make_actor, make_watches
from tests.scenes import roots_of, scan_all

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def _accounts(sessions: Sessions) -> tuple[int, int]:
    with sessions.writing() as session:
        mine, theirs = make_actor(session, "mira@example.org"), make_actor(session, "eve@elsewhere.example")
        make_watches(session, mine, "bad.example", "worse.example", "ok.example", "away.example")
        make_watches(session, theirs, "theirs.example")
        return mine.account_id or 0, theirs.account_id or 0


def test_the_first_of_each_state_and_the_open_incidents(sessions: Sessions) -> None:
    mine, theirs = _accounts(sessions)
    ends = {"bad.example": NOW - HOUR, "worse.example": NOW - 9 * DAY, "ok.example": NOW + 60 * DAY, "theirs.example": NOW - HOUR}
    chains = {name: make_chain([name], not_after=end) for name, end in ends.items()}
    scan_all(sessions, {name: {"192.0.2.1": chain.ders} for name, chain in chains.items()}, roots_of(*chains.values()), NOW + HOUR)
    with sessions.reading() as session:
        lines = first_of_each_state(session, mine, 10)
        assert {state: [line.name for line in found] for state, found in lines.items()} == {
            "bad": ["worse.example", "bad.example"], "soon": [], "unk": ["away.example"], "live": [], "ok": ["ok.example"],
        }  # fmt: skip
        assert [line.name for line in first_of_each_state(session, mine, 1)["bad"]] == ["worse.example"]
        count, newest = open_incidents(session, mine, 1)
        assert count >= 2
        assert len(newest) == 1
        assert {each.name for each in open_incidents(session, theirs, 50)[1]} == {"theirs.example"}


def test_gaps_are_the_accounts_own_since_its_watches_began(sessions: Sessions) -> None:
    mine, theirs = _accounts(sessions)
    now = NOW + 20 * DAY
    with sessions.writing() as session:
        ids = {row.name: row.id for row in session.execute(sa.select(Endpoint.name, Endpoint.id))}
        for name, noticed, closed in (
            ("bad.example", now - HOUR, None),
            ("ok.example", now - 3 * DAY, now - 2 * DAY),
            ("ok.example", now - 3 * DAY + HOUR, now - 2 * DAY),
            ("theirs.example", now - HOUR, None),
            ("worse.example", NOW - DAY, None),  # before the watch began
        ):
            session.add(ScanGap(endpoint_id=ids[name], perspective=LOCAL, due_at=noticed, noticed_at=noticed, closed_at=closed))
        session.add(ScanTally(day=now.date().isoformat(), perspective=LOCAL, made=7))
        session.add(ScanTally(day="2026-01-01", perspective=LOCAL, made=9))
    with sessions.reading() as session:
        looks = looked(session, mine, now)
        assert (looks.missed_day, looks.missing_now, looks.last_scanned_at) == (1, 1, None)
        assert looks.missed == {now.date().isoformat(): 1, (now - 3 * DAY).date().isoformat(): 2}
        assert looks.made == {now.date().isoformat(): 7}
        assert looked(session, theirs, now).missed_day == 1
