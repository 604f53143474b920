"""`./keychest account list` counts what is there, and not what lies in the bin."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import db, main, place
from core.actions.domains import remove_watches
from core.store.accounts import Account
from core.store.db import Sessions
from tests.make import NOW, make_actor, make_watches


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def fill() -> tuple[str, str]:
    place.make_private(place.settings().data)
    db.make_ready(place.settings())
    with db.engine_for(place.settings(), "portal") as engine, Sessions(engine).writing() as session:
        mira, eve = make_actor(session), make_actor(session, "eve@elsewhere.example")
        gone = make_actor(session, "gone@example.net")
        added = make_watches(session, mira, "a.example.org", "b.example.org", "b.example.org:8443")
        remove_watches(session, mira, refs=[added[0].ref], now=NOW)
        session.execute(sa.update(Account).where(Account.id == gone.account_id).values(deleted_at=NOW))
        session.execute(sa.update(Account).where(Account.id == eve.account_id).values(name="\x1b[31mred"))
        return mira.account_ref, eve.account_ref


def test_the_list_counts_what_is_live(capsys: pytest.CaptureFixture[str]) -> None:
    mira, eve = fill()
    assert main.main(["account", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"ref": mira, "name": "example.org", "members": 1, "domains": 1},
        {"ref": eve, "name": "\x1b[31mred", "members": 1, "domains": 0},
    ]


def test_the_table_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    mira, _ = fill()
    assert main.main(["account", "list"]) == 0
    told = capsys.readouterr().out
    assert mira in told
    assert "\x1b[31m" not in told
    assert "[31mred" in told
