import sqlite3
from pathlib import Path

import pytest

from cli import db, main, place, words
from config import Settings
from core.store import schema


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def revision_of(data: Path) -> str:
    with sqlite3.connect(data / "keychest.db") as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(row[0])


def test_upgrade_goes_up_and_then_changes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "upgrade"]) == 0
    assert revision_of(data) == schema.newest_revision()
    assert capsys.readouterr().out == f"The database was upgraded to {schema.newest_revision()}.\n"
    assert main.main(["db", "upgrade"]) == 0
    assert "Nothing was changed" in capsys.readouterr().out
    assert data.stat().st_mode & 0o777 == 0o700


def test_development_migrates_by_itself(data: Path) -> None:
    place.make_private(data)
    db.make_ready(place.settings())
    assert revision_of(data) == schema.newest_revision()


def test_production_points_to_the_verb_and_changes_nothing(data: Path) -> None:
    place.make_private(data)
    settings = place.settings(environment="production")
    with pytest.raises(words.Sorry, match=r"Run \./keychest db upgrade") as refused:
        db.make_ready(settings)
    assert refused.value.code == words.MISCONFIGURED
    db.upgrade(settings)
    db.make_ready(settings)


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
    assert "cannot be read" in capsys.readouterr().err


def test_a_role_without_its_login_in_production(tmp_path: Path) -> None:
    settings = Settings(environment="production", data=tmp_path, database_url="postgresql://me@127.0.0.1/k")
    with pytest.raises(words.Sorry, match="DATABASE_URL_MIGRATE is not set"):
        db.upgrade(settings)


def test_a_user_can_be_made_without_a_browser(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["user", "create", "mira@example.org", "--operator"]) == 0
    assert capsys.readouterr().out.startswith("http://localhost:8000/welcome/")
    assert main.main(["user", "create", "mira@example.org"]) == words.USAGE
    assert "Nothing was changed" in capsys.readouterr().err
    assert main.main(["user", "create", "no address"]) == words.USAGE
