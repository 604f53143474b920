"""Backups at the terminal: made, listed, proven and restored as an operator would, also when the database is gone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cli import main
from core.seal import read_identity, recipient_of
from core.store import schema
from core.store.backups import Backup
from core.store.db import Sessions, make_engine
from tests.make import make_actor

Say = pytest.CaptureFixture[str]
PROMISED = {"id", "at", "engine", "targets", "bytes", "sha256", "restorable", "why", "proven_at", "fidelity", "coverage"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    for name in [name for name in os.environ if name.startswith("KEYCHEST_BACKUP")]:
        monkeypatch.delenv(name)
    return tmp_path / "data"


def told(say: Say, *words: str) -> tuple[int, Any]:
    """Exit code and JSON of a verb."""
    say.readouterr()
    code = main.main([*words, "--json"])
    return code, json.loads(say.readouterr().out or "null")


def people(data: Path, *emails: str) -> None:
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    with Sessions(engine).writing() as session:
        for email in emails:
            make_actor(session, email)
    engine.dispose()


def emails_in(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT email FROM users ORDER BY email")]
    connection.close()
    return found


def test_made_listed_shown_proven_and_restored(data: Path, tmp_path: Path, capsys: Say) -> None:
    assert main.main(["db", "upgrade"]) == 0
    people(data, "mira@example.org", "noa@example.org")
    code, made = told(capsys, "backup", "now")
    assert code == 0
    assert set(made) == PROMISED
    assert (made["engine"], made["restorable"], made["fidelity"], made["coverage"]) == ("sqlite", True, 100.0, 100.0)
    assert made["bytes"] > 0
    assert len(made["sha256"]) == 64
    assert datetime.fromisoformat(made["at"]) <= datetime.fromisoformat(made["proven_at"]) <= datetime.now(UTC)

    assert told(capsys, "backup", "list") == (0, [made])
    code, shown = told(capsys, "backup", "show", made["id"])
    assert (code, shown["manifest"]["tables"]["users"]["rows"]) == (0, 2)
    assert main.main(["backup", "list"]) == 0
    assert made["id"] in capsys.readouterr().out
    assert main.main(["drill", made["id"]]) == 0
    assert "100.000 %" in capsys.readouterr().out
    code, again = told(capsys, "drill", "--key", str(data / "keys" / "recovery-key"))
    assert (code, again["restorable"]) == (0, True)
    assert again["proven_at"] > made["proven_at"]

    code, restored = told(capsys, "restore", made["id"], "--into", str(tmp_path / "new"))
    assert (code, restored["same"], restored["why"]) == (0, True, [])
    assert emails_in(tmp_path / "new" / "keychest.db") == ["mira@example.org", "noa@example.org"]


def test_nothing_is_restored_over_something(data: Path, tmp_path: Path, capsys: Say) -> None:
    assert main.main(["backup", "now"]) == 0
    before = (data / "keychest.db").read_bytes()
    assert main.main(["restore", "newest", "--into", str(data)]) == 1
    assert "holds something already" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert main.main(["restore", "newest", "--into", str(tmp_path / "file")]) == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert (data / "keychest.db").read_bytes() == before
    assert main.main(["restore", "nosuchbackup", "--into", str(tmp_path / "new")]) == 2
    assert "No target has a backup nosuchbackup" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_with_the_whole_data_folder_gone_target_and_key_are_enough(
    data: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = (tmp_path / "target").as_uri()
    monkeypatch.setenv("KEYCHEST_BACKUP_TARGETS", target)
    assert main.main(["db", "upgrade"]) == 0
    people(data, "mira@example.org")
    (data / "secret-key").write_text("k" * 48)
    assert main.main(["backup", "now"]) == 0
    shutil.copy(data / "keys" / "recovery-key", tmp_path / "offline")
    shutil.rmtree(data)

    code, listed = told(capsys, "backup", "list")
    assert (code, len(listed), listed[0]["restorable"]) == (0, 1, False)
    assert main.main(["restore", "newest", "--into", str(tmp_path / "new")]) == 2
    assert "--key" in capsys.readouterr().err
    assert main.main(["restore", "newest", "--into", str(tmp_path / "new"), "--key", str(tmp_path / "offline")]) == 0
    assert "./keychest up --data" in capsys.readouterr().out
    assert emails_in(tmp_path / "new" / "keychest.db") == ["mira@example.org"]
    assert (tmp_path / "new" / "secret-key").read_text() == "k" * 48
    assert "KEYCHEST_BACKUP_TARGETS" in (tmp_path / "new" / "settings.env").read_text()


def test_production_wants_a_recovery_key_and_another_filesystem(
    data: Path, elsewhere: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYCHEST_ENVIRONMENT", "production")
    monkeypatch.setenv("KEYCHEST_BACKUP_TARGETS", f"{(elsewhere / 'a').as_uri()},{(elsewhere / 'b').as_uri()}")
    assert main.main(["db", "upgrade"]) == 0
    assert main.main(["backup", "now"]) == 1
    assert "./keychest backup keygen" in capsys.readouterr().out
    assert main.main(["backup", "keygen"]) == 0
    printed = capsys.readouterr().out
    private = next(line for line in printed.splitlines() if line.startswith("AGE-SECRET-KEY-1"))
    monkeypatch.setenv("KEYCHEST_BACKUP_RECOVERY_KEY", recipient_of(read_identity(private)))
    assert not (data / "keys" / "recovery-key").exists()
    assert main.main(["backup", "now"]) == 0
    assert private not in "".join(path.read_text(errors="replace") for path in data.rglob("*") if path.is_file())
    assert {path.parent.name for path in (elsewhere / "b").rglob("*.age")} == {"backups", "kits", "escrow"}
    monkeypatch.setenv("KEYCHEST_BACKUP_TARGETS", (data / "beside").as_uri())
    assert main.main(["backup", "now"]) == 1
    assert "on the database's own filesystem" in capsys.readouterr().out


def old_database(data: Path) -> None:
    """A database of the first schema with rows in it."""
    data.mkdir(mode=0o700)
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    schema.upgrade(engine, "0001")
    engine.dispose()
    people(data, "mira@example.org", "noa@example.org")


def test_a_migration_takes_a_proven_backup_first_and_keeps_every_row(data: Path, tmp_path: Path, capsys: Say) -> None:
    old_database(data)
    assert main.main(["db", "upgrade"]) == 0
    assert "was made and proven before anything changes" in capsys.readouterr().out
    assert emails_in(data / "keychest.db") == ["mira@example.org", "noa@example.org"]
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    with Sessions(engine).reading() as session:
        backup = session.scalars(sa.select(Backup)).one()
    engine.dispose()
    assert (backup.kind, backup.restorable, backup.manifest["revision"]) == ("migration", True, "0001")
    code, restored = told(capsys, "restore", backup.ref, "--into", str(tmp_path / "new"))
    assert (code, restored["migrated_from"]) == (0, "0001")
    assert emails_in(tmp_path / "new" / "keychest.db") == ["mira@example.org", "noa@example.org"]
    engine = make_engine(f"sqlite:///{tmp_path / 'new' / 'keychest.db'}")
    assert schema.revision(engine) == schema.newest_revision()
    engine.dispose()


def test_without_a_proven_backup_nothing_is_migrated(data: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    old_database(data)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KEYCHEST_BACKUP_TARGETS", (tmp_path / "file").as_uri())
    assert main.main(["db", "upgrade"]) == 1
    assert "Nothing was changed" in capsys.readouterr().err
    engine = make_engine(f"sqlite:///{data / 'keychest.db'}")
    assert schema.revision(engine) == "0001"
    engine.dispose()


def test_wrong_words_are_told(data: Path, tmp_path: Path, capsys: Say) -> None:
    assert main.main(["drill"]) == 2
    assert "There is no stored backup" in capsys.readouterr().err
    assert main.main(["backup", "now"]) == 0
    assert main.main(["drill", "--key", str(tmp_path / "none")]) == 2
    assert main.main(["backup", "show", "nosuchbackup"]) == 1
    assert main.main(["restore", "newest"]) == 64
    (tmp_path / "bad").write_text("no key")
    assert main.main(["restore", "newest", "--into", str(tmp_path / "new"), "--key", str(tmp_path / "bad")]) == 2
    assert "cannot be used" in capsys.readouterr().err
