"""A round of the clock: it drops what certificates are listed by once nobody serves it, and plans what an upgrade brought."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.backups import CHORES, Chore
from core.store.db import Sessions
from core.store.leaves import ServedLeaf
from demo.pki import make_chain
from jobs.clock import ROUND, Clock
from tests.make import NOW, make_actor, make_watches
from tests.scenes import roots_of, scan_all
from tests.workbench import Bench

pytestmark = pytest.mark.slow


def test_a_round_sweeps(bench: Bench) -> None:
    sessions, moment = Sessions(bench.engine), [NOW + timedelta(hours=3)]
    with sessions.writing() as session:
        make_watches(session, make_actor(session), "a.example")
    old, new = make_chain(["a.example"]), make_chain(["a.example"])
    for hour, chain in ((1, old), (2, new)):
        scan_all(sessions, {"a.example": {"192.0.2.1": chain.ders}}, roots_of(old, new), NOW + timedelta(hours=hour))
    clock = Clock(sessions, bench.connection, lambda: moment[0], timedelta(minutes=5))
    for _ in range(2):  # it begins again where it has come to the end
        clock.tick()
        with sessions.reading() as session:
            assert session.scalars(sa.select(ServedLeaf.leaf_sha256)).all() == [new.leaf.sha256]
        moment[0] += ROUND


def test_a_round_plans_what_an_upgrade_brought(bench: Bench) -> None:
    sessions = Sessions(bench.engine)
    with sessions.writing() as session:
        before = set(session.scalars(sa.select(Chore.name)))
        session.execute(sa.update(Chore).where(Chore.name == "drill").values(claim=7))
    assert before < set(CHORES)
    Clock(sessions, bench.connection, lambda: NOW, timedelta(minutes=5)).tick()
    with sessions.reading() as session:
        claims = dict(session.execute(sa.select(Chore.name, Chore.claim)).all())
    assert claims.keys() == set(CHORES)
    assert claims["drill"] == 7, "what was planned is left alone"
