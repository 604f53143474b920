from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.domains import remove_watches
from core.actions.policy import Actor
from core.store.db import Sessions
from core.store.listing import Wanted, binned, counts, listing, rows_by_ref
from core.store.watches import NO_END, STATES, Watch
from tests.make import NOW, make_actor, make_watches

PAGES = 7


@pytest.fixture
def actor(sessions: Sessions) -> Actor:
    """An account of 40 names in all states, with equal ends among them, beside a stranger's."""
    with sessions.writing() as session:
        actor = make_actor(session)
        make_watches(session, make_actor(session, "eve@elsewhere.example"), "stranger.example")
        make_watches(session, actor, *(f"n{number * 7 % 40:02}.example:{443 + number % 2}" for number in range(40)))
        for number, watch in enumerate(session.scalars(sa.select(Watch).where(Watch.account_id == actor.account_id).order_by(Watch.id))):
            watch.rank = number % len(STATES)
            watch.state = STATES[watch.rank]
            watch.ends_at = NO_END if watch.state == "unk" else NOW + timedelta(days=number % 4, microseconds=number % 3)
    return actor


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["worst", "ends", "name", "nonsense"])
@pytest.mark.parametrize("state", ["", "ok", "unk"])
def test_pages_hold_every_row_once_forward_and_back(sessions: Sessions, actor: Actor, sort: str, state: str) -> None:
    account_id = actor.account_id or 0
    with sessions.reading() as session:
        whole = listing(session, account_id, Wanted(sort=sort, state=state), 100)
        assert (whole.previous, whole.next) == ("", "")
        assert len(whole.rows) == (8 if state else 40)
        forward = [listing(session, account_id, Wanted(sort=sort, state=state), PAGES)]
        assert forward[0].previous == ""
        while forward[-1].next:
            forward.append(listing(session, account_id, Wanted(sort=sort, state=state, after=forward[-1].next), PAGES))
        assert [row for page in forward for row in page.rows] == list(whole.rows)
        back = [forward[-1]]
        while back[0].previous:
            back.insert(0, listing(session, account_id, Wanted(sort=sort, state=state, before=back[0].previous), PAGES))
        assert [row for page in back for row in page.rows] == list(whole.rows)
        assert all(page.next for page in back[:-1])
        assert not back[-1].next


def test_a_place_in_the_list_holds_when_its_row_moves_or_goes(sessions: Sessions, actor: Actor) -> None:
    with sessions.writing() as session:
        first = listing(session, actor.account_id or 0, Wanted(), PAGES)
        expected = listing(session, actor.account_id or 0, Wanted(after=first.next), PAGES).rows
        edge = session.scalars(sa.select(Watch).where(Watch.ref == first.rows[-1].ref)).one()
        edge.rank, edge.state = STATES.index("ok"), "ok"
        session.flush()
        assert listing(session, actor.account_id or 0, Wanted(after=first.next), PAGES).rows == expected
        remove_watches(session, actor, refs=[edge.ref], now=NOW)
        assert listing(session, actor.account_id or 0, Wanted(after=first.next), PAGES).rows == expected


@pytest.mark.slow
@pytest.mark.parametrize("cursor", ["", "x", "~", "~~", "9~1~x", "0~999999999999999999999~x", "0~-1~x", "²~²~x", "n01.example~nobody"])
def test_what_is_no_place_in_the_list_is_the_first_page(sessions: Sessions, actor: Actor, cursor: str) -> None:
    with sessions.reading() as session:
        first = listing(session, actor.account_id or 0, Wanted(), PAGES)
        ref = first.rows[0].ref
        for sort in ("worst", "ends", "name"):
            start = listing(session, actor.account_id or 0, Wanted(sort=sort), PAGES)
            for form in (cursor, cursor.replace("x", ref)):
                after = listing(session, actor.account_id or 0, Wanted(sort=sort, after=form), PAGES)
                assert after.rows == start.rows or form.count("~") == start.next.count("~")
        assert listing(session, actor.account_id or 0, Wanted(before=cursor), PAGES).rows == first.rows


def test_a_stranger_s_place_and_rows_are_not_ours(sessions: Sessions, actor: Actor) -> None:
    with sessions.reading() as session:
        foreign = session.scalars(sa.select(Watch).where(Watch.name == "stranger.example")).one()
        assert rows_by_ref(session, actor.account_id or 0, [foreign.ref]) == ()
        first = listing(session, actor.account_id or 0, Wanted(sort="name"), 100)
        assert foreign.ref not in {row.ref for row in first.rows}
        assert listing(session, actor.account_id or 0, Wanted(sort="name", after=f"zz.example~{foreign.ref}"), 100).rows == first.rows
        assert listing(session, actor.account_id or 0, Wanted(text="stranger"), 100).rows == ()


def test_an_unknown_end_is_none_and_counts_are_those_kept(sessions: Sessions, actor: Actor) -> None:
    with sessions.reading() as session:
        rows = listing(session, actor.account_id or 0, Wanted(), 100).rows
        assert {row.ends_at is None for row in rows if row.state == "unk"} == {True}
        assert {row.ends_at is None for row in rows if row.state != "unk"} == {False}
        assert counts(session, actor.account_id or 0) == {"bad": 0, "soon": 0, "unk": 0, "live": 40, "ok": 0}
        assert list(counts(session, 0)) == list(STATES)


def test_an_account_sees_no_scan_from_before_its_watch(sessions: Sessions) -> None:
    from core.store.endpoints import Schedule

    with sessions.writing() as session:
        early, late = make_actor(session), make_actor(session, "late@elsewhere.example")
        make_watches(session, early, "shared.example")
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW + timedelta(hours=1), requested_at=None))
        make_watches(session, late, "shared.example", now=NOW + timedelta(hours=2))
        session.flush()
        assert listing(session, early.account_id or 0, Wanted()).rows[0].checked_at == NOW + timedelta(hours=1)
        assert listing(session, late.account_id or 0, Wanted()).rows[0].checked_at is None


@pytest.mark.slow
def test_the_bin_is_paged_newest_first(sessions: Sessions, actor: Actor) -> None:
    account_id = actor.account_id or 0
    with sessions.writing() as session:
        refs = [row.ref for row in listing(session, account_id, Wanted(sort="name"), 100).rows]
        for number, ref in enumerate(refs[:20]):
            remove_watches(session, actor, refs=[ref], now=NOW + timedelta(minutes=number // 3))
        found: list[str] = []
        page = binned(session, account_id, NOW + timedelta(days=1), size=PAGES)
        while True:
            found += [row.ref for row in page.rows]
            if not page.next:
                break
            page = binned(session, account_id, NOW + timedelta(days=1), page.next, PAGES)
        assert found == list(dict.fromkeys(found))
        assert sorted(found) == sorted(refs[:20])
        assert page.rows[0].by == "mira@example.org"
        moments = [row.removed_at for row in binned(session, account_id, NOW + timedelta(days=1), size=50).rows]
        assert moments == sorted(moments, reverse=True)
        assert binned(session, account_id, NOW + timedelta(days=31), size=50).rows == ()
        assert len(binned(session, account_id, NOW + timedelta(days=1), "nonsense~x", 50).rows) == 20
