"""The demonstration's past of the status feed: one that could have been, until now and not after."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.reported import holds
from core.status.incidents import told_incidents
from core.status.measuring import components
from core.status.told import COMPONENTS
from core.store.access import AccessReport, Host, accesses_since, hosts_there
from core.store.db import Sessions
from demo.public import HOST, measured, public_past
from tests.make import NOW


@pytest.mark.parametrize(
    "now", [NOW, datetime.combine(NOW.date(), time(0, 0, 1), UTC), datetime.combine(NOW.date(), time(23, 59, 59), UTC)]
)
def test_no_more_was_measured_than_there_was_time(now: datetime) -> None:
    parts = components(measured(now), now)
    assert [part.key for part in parts] == list(COMPONENTS)
    for part in parts:
        assert all(day.late_s + day.down_s <= day.measured_s <= 86_400 for day in part.days)
        assert part.days[-1].day == now.date()
        assert part.days[-1].measured_s <= (now - datetime.combine(now.date(), time(), UTC)).total_seconds()
    assert sum(day.measured_s == 0 for part in parts for day in part.days) > 0  # a time that nobody measured is shown too
    assert {part.key for part in parts if any(day.down_s for day in part.days)} == {"portal", "database"}


def test_what_was_told_and_who_was_there_came_as_it_would_have(sessions: Sessions, tmp_path: Path) -> None:
    acts = sorted(public_past(NOW, tmp_path), key=lambda act: act[0])
    assert NOW - timedelta(days=90) < acts[0][0] <= acts[-1][0] == NOW
    with sessions.writing() as session:
        for _, act in acts:
            act(session)
    with sessions.reading() as session:
        disturbance, work = sorted(told_incidents(session, NOW - timedelta(days=90)), key=lambda each: each.opened_at)
        assert [update.state for update in disturbance.updates] == ["resolved", "monitoring", "identified", "investigating"]
        assert (disturbance.state, bool(disturbance.account), work.state) == ("resolved", True, "scheduled")
        assert work.planned_from is not None
        assert NOW + timedelta(days=2) < work.planned_from < NOW + timedelta(days=4)
        lines = accesses_since(session, NOW - timedelta(days=90), NOW, most=10)
        assert [(line.kind, line.ending, bool(line.reason)) for line in lines] == [
            ("ssh", "", False), ("ssh", "closed", False), ("sftp", "closed", True), ("ssh", "closed", True),
        ]  # fmt: skip
        [host] = hosts_there(session)
        assert (host.name, host.heard_at, host.lost, host.waiting, host.refused) == (HOST, NOW, 0, 0, 0)
        key = session.scalars(sa.select(Host.public_key)).one()
        assert all(holds(key, report.text, report.signature) for report in session.scalars(sa.select(AccessReport)))
        times = list(session.scalars(sa.select(OutboxEvent.at).order_by(OutboxEvent.id)))
        assert all(after - before >= -timedelta(seconds=10) for before, after in pairwise(times))


def test_where_no_key_can_be_made_there_is_no_host(sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with sessions.writing() as session:
        for _, act in public_past(NOW, tmp_path):
            act(session)
        assert hosts_there(session) == ()
        assert len(told_incidents(session, NOW - timedelta(days=90))) == 2
