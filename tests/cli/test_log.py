"""`./keychest log`: the accident once more, this time with a log that tells it; a new key; and what is erased."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.entry import read_entry
from audit.note import Checkpoint, Note
from audit.sequencer import Sequencer
from audit.tables import OutboxEvent, PrivatePart
from audit.tiles import entry_at
from cli import main, place, sequencer, words
from cli.settings_seen import tell_changed
from core.actions.own_account import rename_account
from core.store.db import Sessions, make_engine
from tests.people import person

Say = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["db", "upgrade"]) == 0
    return tmp_path / "data"


@pytest.fixture
def turns(data: Path) -> Iterator[Any]:
    """Makes a turn of the sequencer of an installation, as its process does."""
    made: dict[Path, Sequencer] = {}

    def turn(folder: Path = data) -> int:
        if folder not in made:
            made[folder] = sequencer.made(place.settings(data=folder))
        return made[folder].turn(datetime.now(UTC))

    yield turn
    for each in made.values():
        each.sessions.engine.dispose()


def act(data: Path, *emails: str) -> None:
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    for email in emails:
        with Sessions(engine).writing() as session:
            actor, _ = person(session, email)
            rename_account(session, actor, name=f"Team of {email}", now=datetime.now(UTC))
    engine.dispose()


def published(folder: Path) -> list[dict[str, Any]]:
    size = Checkpoint.read(Note.read((folder / "checkpoint").read_bytes()).text).size
    return [read_entry(entry_at(lambda path: (folder / path).read_bytes(), each, size)) for each in range(size)]


def status(capsys: Say, data: Path) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main.main(["log", "status", "--json", "--data", str(data)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_after_the_accident_the_log_says_what_was_lost_and_why_it_goes_on(data: Path, tmp_path: Path, turns: Any, capsys: Say) -> None:
    act(data, "a@example.org", "b@example.org", "c@example.org")
    turns()
    assert main.main(["backup", "now"]) == 0
    act(data, "d@example.org", "e@example.org")
    turns()
    before = published(data / "log" / "public")
    new = tmp_path / "new"
    (data / "keychest.db").unlink()  # the accident
    assert main.main(["restore", "newest", "--into", str(new)]) == 0
    said = capsys.readouterr().out
    assert "The log signs nothing there until you say why" in said
    assert "no database any more whose log could be told" in said
    act(new, "f@example.org")
    assert turns(new) == 0
    code, told = status(capsys, new)
    assert code == 1
    assert f"of {len(before):,} that were signed" in told["trouble"]
    assert told["waiting"] > 0
    assert published(new / "log" / "public") == before, "the old log stays readable"
    assert main.main(["log", "continue", "--reason", " ", "--data", str(new)]) == words.USAGE
    assert main.main(["log", "continue", "--reason", "The backup of noon was restored.", "--data", str(new)]) == 0
    assert turns(new) > 0
    code, told = status(capsys, new)
    assert (code, told["trouble"], told["log"], told["waiting"]) == (0, "", 2, 0)
    first, *rest = published(new / "log" / "public" / "2")
    assert first["said"]["previous_size"] == len(before)
    assert 0 < first["said"]["previous_kept"] < len(before)
    assert first["said"]["reason"] == "The backup of noon was restored."
    assert "account.renamed.v1" in [each["kind"] for each in rest]
    assert main.main(["log", "continue", "--reason", "again", "--data", str(new)]) == words.USAGE
    assert "nothing stands against it" in capsys.readouterr().err
    assert (new / "log" / "key").read_bytes() == (data / "log" / "key").read_bytes()
    third = tmp_path / "third"  # the same backup again, which knows of no second log
    shutil.copytree(data / "backups", new / "backups")
    shutil.copytree(data / "keys", new / "keys")
    assert main.main(["restore", "newest", "--into", str(third), "--data", str(new)]) == 0
    assert turns(third) == 0
    assert "Log 2 was signed before" in status(capsys, third)[1]["trouble"]
    assert main.main(["log", "continue", "--reason", "restored once more", "--data", str(third)]) == 0
    assert turns(third) > 0
    assert status(capsys, third)[1]["log"] == 3
    assert published(third / "log" / "public" / "3")[0]["said"]["previous_origin"].endswith("/log/2")
    assert [(third / "log" / "public" / each).read_text() for each in ("continued", "2/continued")] == ["2\n", "3\n"]


@pytest.mark.slow
def test_a_restore_beside_a_live_database_is_told_to_its_log(data: Path, tmp_path: Path, turns: Any, capsys: Say) -> None:
    act(data, "a@example.org")
    turns()
    assert main.main(["backup", "now"]) == 0
    assert main.main(["restore", "newest", "--into", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    turns()
    last = published(data / "log" / "public")[-1]
    assert (last["kind"], last["by"], last["said"]["same"]) == ("backup.restored.v1", "terminal", True)


@pytest.mark.slow
def test_without_the_folder_the_log_goes_on_from_what_the_database_has(data: Path, turns: Any, capsys: Say) -> None:
    act(data, "a@example.org")
    size = turns()
    shutil.rmtree(data / "log")
    again = sequencer.made(place.settings(data=data))
    assert again.turn(datetime.now(UTC)) == 0
    assert "last checkpoint is not in" in status(capsys, data)[1]["trouble"]
    assert main.main(["log", "continue", "--reason", "the disk with the log's folder is lost"]) == 0
    assert again.turn(datetime.now(UTC)) > 0
    first = published(data / "log" / "public" / "2")[0]["said"]
    assert (first["previous_size"], first["previous_kept"]) == (size, size)
    assert len(published(data / "log" / "public")) == size, "what the database has of the old log is published again"
    again.sessions.engine.dispose()


@pytest.mark.slow
def test_a_new_key_is_taken_by_the_sequencer_and_told(data: Path, turns: Any, capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.log.PATIENCE_S", 0.2)
    turns()
    old = (data / "log" / "key").read_bytes()
    assert main.main(["log", "rotate-key"]) == 0
    assert "A new key waits" in capsys.readouterr().out
    assert turns() == 1
    assert (data / "log" / "key").read_bytes() != old
    assert published(data / "log" / "public")[-1]["kind"] == "log.key_rotated.v1"
    assert main.main(["log", "rotate-key"]) == 0
    turns()


@pytest.mark.slow
def test_a_person_an_account_and_an_entry_are_erased_and_nothing_else(data: Path, turns: Any, capsys: Say) -> None:
    act(data, "a@example.org", "b@example.org", "c@example.org")
    size = turns()
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")

    def left() -> set[int]:
        with Sessions(engine).reading() as session:
            return set(session.scalars(sa.select(PrivatePart.index)))

    def of(column: Any) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        with Sessions(engine).reading() as session:
            for name, index in session.execute(sa.select(column, PrivatePart.index)):
                found.setdefault(str(name), set()).add(index)
        return found

    by_account = {ref: indexes for ref, indexes in of(PrivatePart.account_ref).items() if ref}
    (one, its), *_ = sorted(by_account.items())
    assert main.main(["log", "erase", "--account", one, "--why", "they asked", "--yes"]) == 0
    assert left() == set(range(size)) - its
    assert main.main(["log", "erase", "--entry", "0", "--why", "a try", "--yes"]) == 0
    assert left() == set(range(1, size)) - its
    assert main.main(["log", "erase", "--user", "b@example.org", "--why", "they asked", "--yes"]) == 0
    with Sessions(engine).reading() as session:
        ref = session.scalar(sa.text("SELECT ref FROM users WHERE email = 'b@example.org'"))
        everything = json.dumps([[part.actor, part.sealed] for part in session.scalars(sa.select(PrivatePart))])
    assert ref not in everything
    before = published(data / "log" / "public")
    turns()
    assert published(data / "log" / "public")[: len(before)] == before
    assert [each["kind"] for each in published(data / "log" / "public")[len(before) :]] == ["log.erased.v1"] * 3
    for wrong in (["--entry", "9999"], ["--user", "nobody@example.org"], ["--account", one, "--entry", "1"], []):
        assert main.main(["log", "erase", *wrong, "--why", "x", "--yes"]) == words.USAGE
        assert "Nothing was erased" in capsys.readouterr().err
    engine.dispose()


@pytest.mark.slow
def test_nobody_is_held_up_while_somebody_thinks_whether_to_erase(
    data: Path, turns: Any, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(data, "a@example.org")
    turns()

    def thinks(_words: str, *, default: bool) -> bool:
        with closing(sqlite3.connect(data / "keychest.db", timeout=0.2, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        return default

    monkeypatch.setattr("click.confirm", thinks)
    assert main.main(["log", "erase", "--entry", "1", "--why", "a try"]) == 0
    assert "Nothing was erased." in capsys.readouterr().out


@pytest.mark.slow
def test_other_settings_than_at_the_last_start_are_told_by_name_alone(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> tuple[str, ...]:
        return tell_changed(place.settings(data=data))

    assert told() == told() == ()
    monkeypatch.setenv("KEYCHEST_SMTP_URL", "smtp://user:canary-password@mail.example:25")
    assert told() == ("KEYCHEST_SMTP_URL",)
    assert told() == ()
    monkeypatch.setenv("KEYCHEST_SMTP_URL", "smtp://user:canary-other@mail.example:25")
    monkeypatch.setenv("KEYCHEST_SPOT_CHECK", "off")
    assert told() == ("KEYCHEST_SMTP_URL", "KEYCHEST_SPOT_CHECK")
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    with Sessions(engine).reading() as session:
        events = session.scalars(sa.select(OutboxEvent).where(OutboxEvent.kind == "settings.changed.v1").order_by(OutboxEvent.id)).all()
    engine.dispose()
    assert [(event.public, event.private) for event in events] == [
        ({"settings": 1}, {"names": "KEYCHEST_SMTP_URL"}),
        ({"settings": 2}, {"names": "KEYCHEST_SMTP_URL, KEYCHEST_SPOT_CHECK"}),
    ]
    kept = (data / "settings-seen").read_text()
    assert "canary" not in kept
    assert (data / "settings-seen").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_before_the_first_turn_the_status_says_so(data: Path, capsys: Say) -> None:
    assert status(capsys, data)[1]["begun"] is False
    assert main.main(["log", "status"]) == 0
    assert "has not begun" in capsys.readouterr().out
