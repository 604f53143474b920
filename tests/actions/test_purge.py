"""The bin's end: what goes, what stays, how much at a time, and only while a young backup is proven."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import OutboxEvent
from core.actions import purge, removals, team
from core.actions.backups import set_hold
from core.actions.domains import remove_watches
from core.actions.policy import Actor, NotAllowed
from core.scanner.path import Roots
from core.store.base import Base
from core.store.db import Sessions
from core.store.erase import erase
from demo.pki import make_chain, make_root
from tests.make import NOW, TERMINAL, make_watches
from tests.people import joined, person, proof
from tests.scenes import scan_all

DAY = timedelta(days=1)
WORKER = Actor(worker=True)
GONE = NOW + 30 * DAY + timedelta(seconds=1)


def prove(session: Session, at: datetime, restorable: bool = True) -> None:
    """A backup of that moment, drilled."""
    session.execute(
        sa.insert(Base.metadata.tables["backups"]).values(
            ref=f"b{at:%d%H%M}{int(restorable)}", engine="sqlite", kind="due", state="stored", step="", name="", began_at=at, at=at,
            error="", size_bytes=1, sha256="", manifest={}, targets={}, restorable=restorable, why="", removed_why="",
        )
    )  # fmt: skip


def rows(session: Session) -> dict[str, int]:
    """How many rows each table has; the index of names beside SQLite's search counts for none."""
    known = sa.MetaData()
    known.reflect(session.connection())
    return {
        name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        for name, table in known.tables.items()
        if name[:11] != "watch_names"
    }


@pytest.fixture
def bin_of_two(sessions: Sessions) -> tuple[Actor, Actor]:
    """Two accounts that watch the same two names; the first put one of them into the bin, found bad before."""
    with sessions.writing() as session:
        mine, _ = person(session, "mira@example.org")
        theirs, _ = person(session, "eve@elsewhere.example")
        refs = [added.ref for added in make_watches(session, mine, "a.example", "b.example")]
        make_watches(session, theirs, "a.example", "b.example")
    chain = make_chain(["a.example", "b.example"], root=make_root(now=NOW), now=NOW).ders
    seen = {name: {"192.0.2.1": chain} for name in ("a.example", "b.example")}
    scan_all(sessions, seen, Roots.of([make_root(now=NOW).certificate]), NOW + timedelta(minutes=1))  # of another root
    with sessions.writing() as session:
        remove_watches(session, mine, refs=refs[:1], now=NOW + timedelta(minutes=2))
    return mine, theirs


@pytest.mark.slow
def test_what_lay_there_for_thirty_days_goes_with_all_that_refers_to_it_and_nothing_else(
    sessions: Sessions, bin_of_two: tuple[Actor, Actor]
) -> None:
    with sessions.writing() as session:
        prove(session, GONE)
        before = rows(session)
        assert purge.purge_bin(session, WORKER, now=GONE) == purge.Purged(), "not yet 30 days"
        assert rows(session) == before
        at = NOW + timedelta(minutes=2, seconds=1) + 30 * DAY
        assert purge.purge_bin(session, WORKER, now=at) == purge.Purged(names=1, domains=1)
        after = rows(session)
        less = {name: before[name] - after[name] for name in before if after[name] != before[name]}
        assert less.pop("audit_outbox") == -1
        assert less == {"watches": 1, "domains": 1, "incidents": 1, "notices": 1, "notice_incidents": 1}
        event = session.scalars(sa.select(OutboxEvent).order_by(OutboxEvent.id.desc()).limit(1)).one()
        assert event.kind == "bin.purged.v1"
        assert purge.purge_bin(session, WORKER, now=at) == purge.Purged(), "there is nothing left to go"


@pytest.mark.slow
def test_without_a_young_proven_backup_nothing_goes(sessions: Sessions, bin_of_two: tuple[Actor, Actor]) -> None:
    at = GONE + timedelta(hours=1)

    def held(session: Session) -> None:
        prove(session, at)
        set_hold(session, TERMINAL, reason="Look first.", now=at)

    reasons: tuple[tuple[str, Callable[[Session], None]], ...] = (
        ("none", lambda session: None),
        ("old", lambda session: prove(session, at - timedelta(hours=24, seconds=1))),
        ("of tomorrow", lambda session: prove(session, at + timedelta(seconds=1))),
        ("not restorable", lambda session: prove(session, at, restorable=False)),
        ("held", held),
    )
    with sessions.writing() as session:
        for name, make in reasons:
            step = session.begin_nested()
            make(session)
            before = rows(session)
            assert purge.may_purge(session, at) != "", name
            assert purge.purge_bin(session, WORKER, now=at) == purge.Purged(), name
            assert rows(session) == before, name
            step.rollback()
        prove(session, at - timedelta(hours=23))
        assert purge.purge_bin(session, WORKER, now=at).names == 1


@pytest.mark.slow
def test_so_much_at_a_time_oldest_first_and_an_account_after_its_names(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        vera, _ = joined(session, owner, "vera@example.org", "viewer")
        make_watches(session, owner, *(f"n{number}.example" for number in range(5)))
        team.remove_member(session, owner, user_ref=vera.user_ref, now=NOW)
    checked = proof(sessions, "mira@example.org")
    with sessions.writing() as session:
        removals.remove_account(session, owner, checked=checked, now=NOW)
        prove(session, GONE)
        assert purge.purge_bin(session, WORKER, now=GONE, most=3) == purge.Purged(names=3, domains=3, members=1)
        assert purge.purge_bin(session, WORKER, now=GONE, most=3) == purge.Purged(names=2, domains=2, accounts=1)
        left = rows(session)
        known = Base.metadata.tables
        of_accounts = [name for name in left if name in known and "account_id" in known[name].c]
        for name in of_accounts:
            theirs = sa.select(sa.func.count()).where(known[name].c.account_id.is_not(None))
            assert session.scalar(theirs) == 0, name
        assert left["users"] == 2, "people stay"
        assert left["endpoints"] == 5, "what many share stays"


def test_only_the_worker_may_and_only_what_lies_in_bins(sessions: Sessions) -> None:
    with sessions.writing() as session:
        owner, _ = person(session, "mira@example.org")
        with pytest.raises(NotAllowed):
            purge.purge_bin(session, owner, now=NOW)
        with pytest.raises(ValueError, match="users are not erased"):
            erase(session, "users", [1])
