import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.budget import PORTS_PER_NAME
from core.actions.domains import add_domains, remove_watches, restore_watches
from core.actions.policy import Actor, NotAllowed
from core.actions.watches import MOVED_AT_ONCE, rescope_watches
from core.net.names import Listed
from core.store.db import Sessions
from core.store.endpoints import Domain, Endpoint, Schedule
from core.store.watches import STATES, Watch, WatchTally
from tests.make import NOW, make_actor, make_watches

LATER = NOW + timedelta(days=1)


def tallies(sessions: Sessions, account_id: int | None) -> dict[str, int]:
    with sessions.reading() as session:
        kept = dict(session.execute(sa.select(WatchTally.state, WatchTally.watches).where(WatchTally.account_id == account_id)).all())
        counted = dict.fromkeys(STATES, 0)
        for state in session.scalars(sa.select(Watch.state).where(Watch.account_id == account_id, Watch.deleted_at.is_(None))):
            counted[state] += 1
    assert kept == counted
    return kept


def watchers(sessions: Sessions) -> list[int]:
    with sessions.reading() as session:
        return list(session.scalars(sa.select(Schedule.watchers).order_by(Schedule.endpoint_id)))


def test_names_are_added_once_and_are_due_at_once(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        first = make_watches(session, actor, "a.example", "b.example:8443", "a.example")
        again = make_watches(session, actor, "a.example", "c.example", now=LATER)
    assert [added.outcome for added in first] == ["added", "added", "added"]
    assert first[0].ref == first[2].ref
    assert [added.outcome for added in again] == ["here", "added"]
    assert tallies(sessions, actor.account_id)["live"] == 3
    with sessions.reading() as session:
        schedules = session.scalars(sa.select(Schedule).order_by(Schedule.endpoint_id)).all()
        assert [(row.urgent, row.next_scan_at, row.watchers) for row in schedules] == [(True, NOW, 1), (True, NOW, 1), (True, LATER, 1)]
        assert session.scalars(sa.select(Domain.name).order_by(Domain.name)).all() == ["a.example", "b.example", "c.example"]
        assert session.scalars(sa.select(OutboxEvent.kind)).all().count("domains.added.v1") == 2


def test_an_endpoint_is_shared_by_accounts_and_apart_where_private_ranges_are_open(sessions: Sessions) -> None:
    with sessions.writing() as session:
        for number, private in enumerate((False, False, True)):
            actor = make_actor(session, f"u{number}@example.org")
            add_domains(session, actor, listed=[Listed("a.example", 443)], private_ranges=private, now=NOW)
    with sessions.reading() as session:
        scopes = session.scalars(sa.select(Endpoint.scope).order_by(Endpoint.id)).all()
    assert scopes == ["", actor.account_ref]
    assert watchers(sessions) == [2, 1]


def test_removed_names_come_back_whole(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        a, b = make_watches(session, actor, "a.example", "b.example")
    with sessions.writing() as session:
        assert remove_watches(session, actor, refs=[a.ref, b.ref, "nosuchref0000000"], now=LATER) == 2
        assert remove_watches(session, actor, refs=[a.ref], now=LATER) == 0
    assert watchers(sessions) == [0, 0]
    assert sum(tallies(sessions, actor.account_id).values()) == 0
    with sessions.reading() as session:
        assert session.scalars(sa.select(Domain.deleted_at)).all() == [LATER, LATER]
    with sessions.writing() as session:
        assert restore_watches(session, actor, refs=[a.ref], now=LATER) == 1
        (again,) = make_watches(session, actor, "b.example", now=LATER)
        assert (again.outcome, again.ref) == ("restored", b.ref)
        assert restore_watches(session, actor, refs=[a.ref, b.ref], now=LATER) == 0
    assert watchers(sessions) == [1, 1]
    assert tallies(sessions, actor.account_id)["live"] == 2
    with sessions.reading() as session:
        assert session.scalars(sa.select(Watch.since_at)).all() == [NOW, NOW]
        assert session.scalars(sa.select(Domain.deleted_at)).all() == [None, None]


def test_strangers_watches_are_out_of_reach(sessions: Sessions) -> None:
    with sessions.writing() as session:
        mine, other = make_actor(session), make_actor(session, "eve@example.org")
        (a,) = make_watches(session, mine, "a.example")
        assert remove_watches(session, other, refs=[a.ref], now=NOW) == 0
        remove_watches(session, mine, refs=[a.ref], now=NOW)
        assert restore_watches(session, other, refs=[a.ref], now=NOW) == 0


def test_a_viewer_changes_nothing(sessions: Sessions) -> None:
    with sessions.writing() as session:
        viewer = make_actor(session, role="viewer")
        with pytest.raises(NotAllowed, match="role"):
            make_watches(session, viewer, "a.example")
        with pytest.raises(NotAllowed):
            remove_watches(session, viewer, refs=[], now=NOW)
        with pytest.raises(NotAllowed):
            restore_watches(session, Actor(), refs=[], now=NOW)


def test_a_host_is_not_watched_port_by_port(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        listed = [Listed("a.example", port) for port in range(1, PORTS_PER_NAME + 3)]
        outcomes = [added.outcome for added in add_domains(session, actor, listed=listed, private_ranges=False, now=NOW)]
        assert outcomes == ["added"] * PORTS_PER_NAME + ["refused"] * 2
        assert [added.outcome for added in make_watches(session, actor, "a.example:1", "b.example:1")] == ["here", "added"]


def test_a_host_is_not_scanned_port_by_port_by_adding_and_removing_in_turns(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        first = make_watches(session, actor, *(f"a.example:{port}" for port in range(1, PORTS_PER_NAME + 1)))
        remove_watches(session, actor, refs=[added.ref for added in first], now=NOW)
        assert {added.outcome for added in make_watches(session, actor, "a.example:500", "a.example:501")} == {"refused"}
        assert make_watches(session, actor, "a.example:500", now=NOW + timedelta(hours=25))[0].outcome == "added"


def test_a_name_is_watched_once_whatever_its_scope(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        (shared,) = make_watches(session, actor, "a.example")
        remove_watches(session, actor, refs=[shared.ref], now=NOW)
        (back,) = add_domains(session, actor, listed=[Listed("a.example", 443)], private_ranges=True, now=LATER)
        assert (back.outcome, back.ref) == ("restored", shared.ref)
        (here,) = make_watches(session, actor, "a.example", now=LATER)
        assert (here.outcome, here.ref) == ("here", shared.ref)
    with sessions.reading() as session:
        watch = session.scalars(sa.select(Watch)).one()
        assert session.scalars(sa.select(Endpoint.scope).where(Endpoint.id == watch.endpoint_id)).one() == actor.account_ref
        assert watch.since_at == LATER  # another endpoint: nothing of the shared one's past is its own


@pytest.mark.slow
def test_opening_private_ranges_moves_what_is_watched_a_few_hundred_at_a_time(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor, other = make_actor(session), make_actor(session, "eve@example.org")
        make_watches(session, actor, *(f"h{number}.example" for number in range(MOVED_AT_ONCE + 5)))
        make_watches(session, other, "h1.example")
    for moved in (MOVED_AT_ONCE, 5, 0):
        with sessions.writing() as session:
            assert rescope_watches(session, account_ids=[actor.account_id or 0], now=LATER) == moved
    with sessions.reading() as session:
        scopes = session.scalars(
            sa.select(Endpoint.scope).join(Watch, Watch.endpoint_id == Endpoint.id).where(Watch.account_id == actor.account_id)
        )
        assert set(scopes) == {actor.account_ref}
        assert session.scalar(sa.select(sa.func.sum(Schedule.watchers))) == MOVED_AT_ONCE + 6
        left = session.scalars(
            sa.select(Endpoint.scope).join(Watch, Watch.endpoint_id == Endpoint.id).where(Watch.account_id == other.account_id)
        )
        assert left.all() == [""]


@pytest.mark.slow
def test_ten_thousand_names_are_added_and_counted(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        names = [f"h{number}.example" for number in range(10_000)]
        assert {added.outcome for added in make_watches(session, actor, *names)} == {"added"}
    assert tallies(sessions, actor.account_id)["live"] == 10_000


@pytest.mark.slow
def test_many_people_add_the_same_names_at_once(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actors = [make_actor(session, f"u{number}@example.org") for number in range(3)]
    failures: list[Exception] = []

    def add(actor: Actor, names: Sequence[str]) -> None:
        try:
            with sessions.writing() as session:
                make_watches(session, actor, *names)
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    names = [f"h{number}.example" for number in range(60)]
    threads = [threading.Thread(target=add, args=(actor, order)) for actor in actors for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert watchers(sessions) == [3] * 60
    assert [tallies(sessions, actor.account_id)["live"] for actor in actors] == [60] * 3
