"""`./keychest keys rotate`: every secret is wrapped anew, and opens as before."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import main, words
from core.actions.factors import begin_app, confirm_app
from core.envelope import FILE, KeyFile, read_keys
from core.store.db import Sessions, make_engine
from core.store.factors import Factor, factor_place
from tests.make import NOW
from tests.people import person, proof, shown

STEP = timedelta(seconds=30)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["db", "upgrade"]) == 0
    return tmp_path / "data"


def fill(data: Path) -> tuple[Sessions, KeyFile]:
    sessions, keys = Sessions(make_engine(f"sqlite:///{data / 'keychest.db'}")), KeyFile(data / FILE)
    for email in ("mira@example.org", "vera@example.org"):
        with sessions.writing() as session:
            actor, _ = person(session, email)
        checked = proof(sessions, email)
        with sessions.writing() as session:
            app = begin_app(session, actor, checked=checked, keys=keys, now=NOW)
            confirm_app(session, actor, keys=keys, code=shown(app.secret, NOW), keep=0, now=NOW)
    return sessions, keys


def kept(sessions: Sessions) -> dict[str, str]:
    with sessions.reading() as session:
        return dict(session.execute(sa.select(Factor.ref, Factor.sealed)).all())


@pytest.mark.slow
def test_every_secret_is_wrapped_anew_and_told_how_many(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions, keys = fill(data)
    before = kept(sessions)
    plain = {ref: keys.open(sealed, factor_place(ref)) for ref, sealed in before.items()}
    assert main.main(["keys", "rotate"]) == 0
    assert "2 secrets were wrapped by it" in capsys.readouterr().out
    after = kept(sessions)
    assert {ref: keys.open(sealed, factor_place(ref)) for ref, sealed in after.items()} == plain
    assert all(keys.wrapped_by_newest(sealed) for sealed in after.values())
    assert not [ref for ref in before if before[ref] == after[ref]]
    assert len(read_keys(keys.path.read_bytes())) == 2, "what lies in older backups opens too"
    assert keys.path.stat().st_mode & 0o777 == 0o600
    sessions.engine.dispose()


@pytest.mark.slow
def test_with_none_it_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["keys", "rotate"]) == 0
    assert "0 secrets were wrapped by it" in capsys.readouterr().out
    assert (data / FILE).exists()


@pytest.mark.slow
def test_a_lost_file_of_keys_is_told_and_nothing_changes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions, keys = fill(data)
    before = kept(sessions)
    keys.path.unlink()
    assert main.main(["keys", "rotate"]) == words.UNAVAILABLE
    assert "The recovery kit has it" in capsys.readouterr().err
    assert kept(sessions) == before
    sessions.engine.dispose()


def test_without_a_database_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "none"))
    assert main.main(["keys", "rotate"]) != 0
    assert not (tmp_path / "none").exists()
