"""What is searched follows the rows: added, renamed, into the bin and back, gone for good; with the index of trigrams and without."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.actions.domains import remove_watches, restore_watches
from core.actions.policy import Actor
from core.net.names import read_name
from core.store.db import Sessions
from core.store.listing import Wanted, listing, means_beginning
from core.store.sought import FEW, INDEXES, as_sought, narrowed, sought_of
from core.store.watches import Watch
from tests.make import NOW, make_actor, make_watches

NAMES = (
    "www.shop.example",
    "shopping.example",
    "workshop.harbour.example",
    read_name("bücher.example").name,
    read_name("日本.example").name,
)


@pytest.fixture
def actor(sessions: Sessions) -> Actor:
    with sessions.writing() as session:
        make_watches(session, make_actor(session, "eve@elsewhere.example"), "shop.stranger.example")
        actor = make_actor(session)
        make_watches(session, actor, *NAMES)
    return actor


@pytest.fixture(params=["indexed", "read on"])
def with_or_without(request: pytest.FixtureRequest, sessions: Sessions) -> str:
    """As where SQLite has no FTS5, or PostgreSQL's owner may not make the extension: the same is found."""
    if request.param == "read on":
        with sessions.engine.begin() as connection:
            for index in INDEXES.values():
                for event in ("insert", "update", "delete") if connection.dialect.name == "sqlite" else ():
                    connection.execute(sa.text(f"DROP TRIGGER {index}_{event}"))
                connection.execute(sa.text(f"DROP {'TABLE' if connection.dialect.name == 'sqlite' else 'INDEX'} {index}"))
    return str(request.param)


def found(sessions: Sessions, actor: Actor, text: str) -> set[str]:
    with sessions.reading() as session:
        return {row.name for row in listing(session, actor.account_id or 0, Wanted(text=text)).rows}


CASES = {
    "shop": {NAMES[0], NAMES[1], NAMES[2]},
    "SHOP.": {NAMES[0], NAMES[2]},
    ".shop": {NAMES[0], NAMES[1]},
    "shop.example": {NAMES[0]},
    "sh": {NAMES[0], NAMES[1]},
    "w": {NAMES[0], NAMES[2]},
    "op": set(),
    "ücher": {NAMES[3]},
    "xn--": {NAMES[3], NAMES[4]},
    "日本": {NAMES[4]},
    "本": set(),
    "example\n": set(NAMES),
    "e\n..b": set(),
    'shop" OR "x': set(),
    "%%%": set(),
    "___": set(),
    "https://www.shop.example/x": {NAMES[0]},
    "shop:443": {NAMES[0], NAMES[1], NAMES[2]},
    "shop:25": set(),
    "nosuch": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", list(CASES))
def test_texts_find_names(sessions: Sessions, actor: Actor, with_or_without: str, text: str) -> None:
    assert found(sessions, actor, text) == CASES[text]


def test_the_index_is_there_and_narrows(sessions: Sessions, actor: Actor) -> None:
    with sessions.reading() as session:
        if sessions.engine.dialect.name == "sqlite":
            few = narrowed(session, "watches", as_sought("shop"))
            assert few is not None
            assert len(session.execute(few).all()) == 4, "a stranger's too: the account is asked for where it is used"
        else:
            session.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = session.scalars(sa.text("EXPLAIN SELECT id FROM watches WHERE sought LIKE '%shop%'")).all()
            assert any(INDEXES["watches"] in line for line in plan)


def test_finds_follow_a_rename_the_bin_a_restore_and_a_purge(sessions: Sessions, actor: Actor) -> None:
    with sessions.writing() as session:
        watch = session.scalars(sa.select(Watch).where(Watch.name == NAMES[1])).one()
        watch.name = "renamed.example"
        ref, row_id = watch.ref, watch.id
    assert found(sessions, actor, "shopping") == set()
    assert found(sessions, actor, "renamed") == {"renamed.example"}
    with sessions.writing() as session:
        remove_watches(session, actor, refs=[ref], now=NOW)
    assert found(sessions, actor, "renamed") == set()
    with sessions.writing() as session:
        restore_watches(session, actor, refs=[ref], now=NOW)
    assert found(sessions, actor, "renamed") == {"renamed.example"}
    with sessions.writing() as session:
        session.execute(sa.delete(Watch).where(Watch.id == row_id))
    assert found(sessions, actor, "renamed") == set()
    if sessions.engine.dialect.name == "sqlite":
        with sessions.reading() as session:
            few = narrowed(session, "watches", as_sought("renamed"))
            assert few is not None
            assert session.execute(few).all() == []


@pytest.mark.slow
def test_many_finds_are_read_in_the_list_s_order(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = make_actor(session)
        make_watches(session, actor, *(f"many{number}.example" for number in range(FEW + 1)))
        few = narrowed(session, "watches", "many")
        assert few is None
        page = listing(session, actor.account_id or 0, Wanted(text="many", sort="name"), 5)
        assert [row.name for row in page.rows] == sorted(f"many{number}.example" for number in range(FEW + 1))[:5]
        assert listing(session, actor.account_id or 0, Wanted(text="many", sort="name", before=page.next), 5).next


def test_what_a_name_is_searched_as() -> None:
    assert sought_of("www.shop.example") == "..www..shop..example"
    assert sought_of("xn--bcher-kva.example") == "..xn--bcher-kva..example\n..bücher..example"
    assert [means_beginning(text) for text in ("", "a", "ab", "abc", ".a", "ab:443", "日本")] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
    ]
