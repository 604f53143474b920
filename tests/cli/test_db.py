import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import db, main, place, words
from config import Settings
from core.actions import accounts, passwords
from core.actions.policy import Actor, NotAllowed
from core.store import schema
from core.store.accounts import user_by_email
from core.store.db import Sessions, make_engine


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def revision_of(data: Path) -> str:
    with sqlite3.connect(data / "keychest.db") as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(row[0])


@pytest.mark.slow
def test_upgrade_goes_up_and_then_changes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "upgrade"]) == 0
    assert revision_of(data) == schema.newest_revision()
    assert capsys.readouterr().out == f"The database was upgraded to {schema.newest_revision()}.\n"
    assert main.main(["db", "upgrade"]) == 0
    assert "Nothing was changed" in capsys.readouterr().out
    assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_development_migrates_by_itself(data: Path) -> None:
    place.make_private(data)
    db.make_ready(place.settings())
    assert revision_of(data) == schema.newest_revision()


@pytest.mark.slow
def test_production_points_to_the_verb_and_changes_nothing(data: Path) -> None:
    place.make_private(data)
    settings = place.settings(environment="production")
    with pytest.raises(words.Sorry, match=r"Run \./keychest db upgrade") as refused:
        db.make_ready(settings)
    assert refused.value.code == words.MISCONFIGURED
    assert f"{data}/keychest.db" in str(refused.value)
    db.upgrade(settings)
    db.make_ready(settings)


@pytest.mark.slow
def test_production_names_the_command_with_the_folder_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "my data"
    monkeypatch.setenv("KEYCHEST_ENVIRONMENT", "production")
    place.make_private(mine)
    with pytest.raises(words.Sorry) as refused:
        db.make_ready(place.settings(data=mine), mine)
    assert f"Run ./keychest db upgrade --data '{mine}', then" in str(refused.value)
    assert main.main(["db", "upgrade", "--data", str(mine)]) == 0
    assert revision_of(mine) == schema.newest_revision()


def test_a_database_that_is_away_is_told_without_its_password(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:canary@127.0.0.1:1/keychest")
    monkeypatch.setenv("KEYCHEST_ENVIRONMENT", "development")
    assert main.main(["db", "upgrade"]) == words.UNAVAILABLE
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert "canary" not in told


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", "no address")
    assert main.main(["db", "upgrade"]) == words.MISCONFIGURED
    assert "write postgresql://user:password@host/name" in capsys.readouterr().err


def test_a_role_without_its_login_in_production(tmp_path: Path) -> None:
    settings = Settings(environment="production", data=tmp_path, database_url="postgresql://me@127.0.0.1/k")
    with pytest.raises(words.Sorry, match="DATABASE_URL_MIGRATE is not set"):
        db.upgrade(settings)


@pytest.mark.slow
def test_a_user_can_be_made_without_a_browser(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["user", "create", "mira@example.org", "--operator"]) == 0
    assert capsys.readouterr().out.startswith("http://localhost:8000/welcome/")
    assert main.main(["user", "create", "mira@example.org"]) == words.USAGE
    assert "Nothing was changed" in capsys.readouterr().err
    assert main.main(["user", "create", "no address"]) == words.USAGE


@pytest.mark.slow
def test_a_link_leads_to_where_the_portal_is(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place.make_private(data)
    place.keep_address(Settings(data=data, port=8123))
    assert (data / "address").stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv("KEYCHEST_DATA")
    assert main.main(["user", "create", "mira@example.org", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("http://localhost:8123/welcome/")
    monkeypatch.setenv("KEYCHEST_BASE_URL", "https://keychest.example.org/")
    assert main.main(["user", "create", "noa@example.org", "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("https://keychest.example.org/welcome/")


@pytest.mark.slow
def test_a_lost_password_is_replaced_by_a_new_link(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["user", "create", "mira@example.org"]) == 0
    first = capsys.readouterr().out.strip()
    assert main.main(["user", "link", " Mira@Example.org "]) == 0
    second = capsys.readouterr().out.strip()
    assert second != first
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    now = datetime.now(UTC)
    with Sessions(engine).writing() as session:
        chosen = accounts.accept_welcome(
            session, token=second.rpartition("/")[2], password_hash=passwords.hash_password("correct horse battery"), now=now
        )
        user = user_by_email(session, "mira@example.org")
        assert user is not None
        assert chosen.user_id == user.id
        kinds = set(session.scalars(sa.text("SELECT kind FROM audit_outbox")))
    engine.dispose()
    assert "welcome_link.issued.v1" in kinds
    assert main.main(["user", "link", "nobody@example.org"]) == words.USAGE
    assert "There is no user with this address" in capsys.readouterr().err


@pytest.mark.slow
def test_only_the_terminal_makes_links(data: Path) -> None:
    place.make_private(data)
    db.upgrade(place.settings())
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    with Sessions(engine).writing() as session, pytest.raises(NotAllowed):
        accounts.issue_welcome_link(session, Actor(user_id=1), email="mira@example.org", now=datetime.now(UTC))
    engine.dispose()
