"""`./keychest account list` counts what is there, and not what lies in the bin."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import db, main, place, words
from core.actions.domains import remove_watches
from core.store import schema
from core.store.accounts import Account, Membership, User
from core.store.db import Sessions
from core.store.operated import Counted, accounts_counted
from tests.make import NOW, make_actor, make_watches


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def fill(sessions: Sessions) -> tuple[str, str]:
    with sessions.writing() as session:
        mira, eve = make_actor(session), make_actor(session, "eve@elsewhere.example")
        gone, left = make_actor(session, "gone@example.net"), make_actor(session, "left@example.net")
        added = make_watches(session, mira, "a.example.org", "b.example.org", "b.example.org:8443")
        remove_watches(session, mira, refs=[added[0].ref], now=NOW)
        session.execute(sa.update(Account).where(Account.id == gone.account_id).values(deleted_at=NOW))
        session.execute(sa.update(Account).where(Account.id == eve.account_id).values(name="\x1b[31mred"))
        for user, ends in ((left, {"user": NOW}), (gone, {"membership": NOW})):
            session.add(
                Membership(
                    account_id=mira.account_id, user_id=user.user_id, role="viewer", created_at=NOW, deleted_at=ends.get("membership")
                )
            )
            session.execute(sa.update(User).where(User.id == user.user_id).values(deleted_at=ends.get("user")))
        session.execute(sa.update(Account).where(Account.id == left.account_id).values(deleted_at=NOW))
        return mira.account_ref, eve.account_ref


def test_what_is_counted_is_live(sessions: Sessions) -> None:
    mira, eve = fill(sessions)
    with sessions.reading() as session:
        assert accounts_counted(session) == (Counted(mira, "example.org", 1, 1), Counted(eve, "\x1b[31mred", 1, 0))


@pytest.fixture
def filled(data: Path) -> tuple[str, str]:
    place.make_private(data)
    db.make_ready(place.settings())
    with db.engine_for(place.settings(), "portal") as engine:
        return fill(Sessions(engine))


@pytest.mark.slow
def test_the_list_is_json_for_other_programs(filled: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    mira, eve = filled
    assert main.main(["account", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"ref": mira, "name": "example.org", "members": 1, "domains": 1},
        {"ref": eve, "name": "\x1b[31mred", "members": 1, "domains": 0},
    ]


@pytest.mark.slow
def test_the_table_obeys_no_name(filled: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["account", "list"]) == 0
    told = capsys.readouterr().out
    assert filled[0] in told
    assert "\x1b[31m" not in told
    assert "[31mred" in told


def test_where_there_is_no_database_none_is_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for there in (False, True):
        if there:
            data.mkdir()
        assert main.main(["account", "list", "--json"]) == words.UNAVAILABLE
        told = capsys.readouterr()
        assert (told.out, "There is no database at" in told.err, "Nothing was made" in told.err) == ("", True, True)
    assert list(data.iterdir()) == []


@pytest.mark.slow
def test_an_older_database_is_left_as_it_is(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.make_private(data)
    with db.engine_for(place.settings(), "migrate") as engine:
        schema.upgrade(engine, "0008")
    assert main.main(["account", "list"]) == words.MISCONFIGURED
    assert "db upgrade" in capsys.readouterr().err
    with db.engine_for(place.settings(), "migrate") as engine:
        assert schema.revision(engine) == "0008"
