"""What certificates are listed by: nothing that an account sees is missing, and what nobody serves any more is swept."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.domains import remove_watches, restore_watches
from core.actions.policy import Actor
from core.store.db import Sessions
from core.store.leaves import ServedLeaf, drop_unserved, unserved
from core.store.served import MOST_COUNTED, served_now
from core.store.watches import Watch
from demo.pki import Chain, make_chain
from tests.make import NOW, make_actor, make_watches
from tests.scenes import roots_of, scan_all

HOUR = timedelta(hours=1)


def account(sessions: Sessions, email: str, *names: str, hour: int = 0) -> Actor:
    with sessions.writing() as session:
        actor = make_actor(session, email)
        make_watches(session, actor, *names, now=NOW + hour * HOUR)
    return actor


def scan(sessions: Sessions, chain: Chain, hour: int, *names: str) -> None:
    scan_all(sessions, {name: {"192.0.2.1": chain.ders} for name in names}, roots_of(chain), NOW + hour * HOUR)


def kept(sessions: Sessions, actor: Actor) -> set[str]:
    with sessions.reading() as session:
        return set(session.scalars(sa.select(ServedLeaf.leaf_sha256).where(ServedLeaf.account_id == actor.account_id)))


def shown(sessions: Sessions, actor: Actor, search: str = "") -> list[str]:
    with sessions.reading() as session:
        return [row.sha256 for row in served_now(session, actor.account_id or 0, search=search, most=9)]


def sweep(sessions: Sessions) -> int:
    with sessions.writing() as session:
        return drop_unserved(session, unserved(session, 0)[0])


def refs(sessions: Sessions, actor: Actor) -> list[str]:
    with sessions.reading() as session:
        return list(session.scalars(sa.select(Watch.ref).where(Watch.account_id == actor.account_id)))


@pytest.mark.slow
def test_a_renewed_leaf_is_shown_no_more_and_then_swept(sessions: Sessions) -> None:
    mira = account(sessions, "mira@example.org", "a.example")
    old, new = make_chain(["a.example"]), make_chain(["a.example"])
    scan(sessions, old, 1, "a.example")
    assert shown(sessions, mira) == [old.leaf.sha256]
    scan(sessions, new, 2, "a.example")
    assert shown(sessions, mira) == [new.leaf.sha256]
    assert kept(sessions, mira) == {old.leaf.sha256, new.leaf.sha256}
    assert sweep(sessions) == 1
    assert kept(sessions, mira) == {new.leaf.sha256}
    scan(sessions, old, 3, "a.example")
    assert shown(sessions, mira) == [old.leaf.sha256], "it is noted again where it comes back"


@pytest.mark.slow
def test_the_bin_hides_and_a_restore_brings_back_also_after_a_sweep(sessions: Sessions) -> None:
    mira = account(sessions, "mira@example.org", "a.example")
    chain = make_chain(["a.example"])
    scan(sessions, chain, 1, "a.example")
    for swept in (False, True):
        with sessions.writing() as session:
            remove_watches(session, mira, refs=refs(sessions, mira), now=NOW + 2 * HOUR)
        assert shown(sessions, mira) == shown(sessions, mira, "a.example") == []
        assert not swept or sweep(sessions) == 1
        with sessions.writing() as session:
            restore_watches(session, mira, refs=refs(sessions, mira), now=NOW + 2 * HOUR)
        assert shown(sessions, mira) == shown(sessions, mira, "a.example") == [chain.leaf.sha256]


@pytest.mark.slow
def test_a_new_watch_sees_what_is_served_from_its_first_scan_on_though_nothing_changed(sessions: Sessions) -> None:
    account(sessions, "mira@example.org", "a.example")
    chain = make_chain(["a.example"], cn="Harbour Shop")
    scan(sessions, chain, 1, "a.example")
    eve = account(sessions, "eve@elsewhere.example", "a.example", hour=2)
    for search in ("", "a.exa", "harbour shop", chain.leaf.sha256[:8]):
        assert shown(sessions, eve, search) == [], search
    assert sweep(sessions) == 0
    scan(sessions, chain, 3, "a.example")
    for search in ("", "a.exa", "harbour shop", chain.leaf.sha256[:8], "ha"):
        assert shown(sessions, eve, search) == [chain.leaf.sha256], search


@pytest.mark.slow
def test_an_address_that_is_gone_and_comes_back(sessions: Sessions) -> None:
    mira = account(sessions, "mira@example.org", "a.example")
    one, two = make_chain(["a.example"]), make_chain(["a.example"])
    both = {"a.example": {"192.0.2.1": one.ders, "192.0.2.2": two.ders}}
    scan_all(sessions, both, roots_of(one, two), NOW + HOUR)
    scan_all(sessions, {"a.example": {"192.0.2.1": one.ders}}, roots_of(one, two), NOW + 2 * HOUR)
    assert shown(sessions, mira) == [one.leaf.sha256]
    assert sweep(sessions) == 1
    scan_all(sessions, both, roots_of(one, two), NOW + 3 * HOUR)
    assert set(shown(sessions, mira)) == {one.leaf.sha256, two.leaf.sha256}


@pytest.mark.slow
def test_places_are_counted_up_to_one_more_than_so_many(sessions: Sessions) -> None:
    names = [f"n{number:03}.example" for number in range(MOST_COUNTED + 5)]
    mira = account(sessions, "mira@example.org", *names)
    wild = make_chain(["*.example"])
    scan(sessions, wild, 1, *names)
    with sessions.reading() as session:
        (row,) = served_now(session, mira.account_id or 0, most=9)
        assert row.endpoints == MOST_COUNTED + 1
        assert [each.sha256 for each in served_now(session, mira.account_id or 0, search="n104", most=9)] == [wild.leaf.sha256]


def test_a_sweep_goes_on_where_it_was(sessions: Sessions) -> None:
    mira = account(sessions, "mira@example.org", "a.example", "b.example")
    one, two = make_chain(["a.example"]), make_chain(["b.example"])
    scan_all(sessions, {"a.example": {"192.0.2.1": one.ders}, "b.example": {"192.0.2.1": two.ders}}, roots_of(one, two), NOW + HOUR)
    with sessions.writing() as session:
        remove_watches(session, mira, refs=refs(sessions, mira), now=NOW + 2 * HOUR)
    with sessions.reading() as session:
        first, after = unserved(session, 0, most=1)
        second, end = unserved(session, after, most=1)
        assert (len(first), len(second), end > after) == (1, 1, True)
        assert unserved(session, end, most=1) == ([], 0)
