"""A whole installation backs itself up and proves it, unasked; and under load every row that was acknowledged before a point is in it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.backups import ask_backup, stored_of
from core.actions.policy import Actor
from core.backups import keys
from core.backups.restore import unseal
from core.store.backups import Backup, backups, newest_drill, open_alarms
from core.store.db import Sessions, make_engine
from tests.backups import Yard
from tests.large import make_large
from tests.make import make_actor
from tests.once import run_once
from tests.processes import eventually
from tests.stage import ROOT, installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
WRITERS, ROUNDS = 2, 2


def test_up_makes_and_proves_a_backup_by_itself(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with installation(data, {}) as running:
        running.await_health()
        sessions = running.sessions()
        first = eventually(lambda: proven(sessions, 1), within_s=60)[0]
        assert "sealed to a recovery key made just now" in "".join(running.said)
        assert (first.kind, first.state, first.fidelity, first.coverage) == ("due", "stored", 100.0, 100.0)
        assert len(list(data.glob("backups/backups/*.db.age"))) == len(list(data.glob("backups/backups/*.json"))) == 1
        eventually(lambda: list(data.glob("backups/kits/*.age")) and list(data.glob("backups/escrow/*.age")))
        acknowledged = set()
        for number in range(20):
            with sessions.writing() as session:
                actor = make_actor(session, f"person{number}@example.org", now=datetime.now(UTC))
            acknowledged.add(actor.account_ref)
        with sessions.writing() as session:
            ask_backup(session, Actor(terminal=True), now=datetime.now(UTC))
        second = eventually(lambda: proven(sessions, 2), within_s=60)[0]
        with sessions.reading() as session:
            alarms = [f"{alarm.kind}: {alarm.message}" for alarm in open_alarms(session)]
            assert (second.kind, second.coverage, alarms) == ("asked", 100.0, [])
            drilled = newest_drill(session)
        assert drilled is not None
        assert (drilled.faults, drilled.accounts_held) == ([], 20)
        sessions.engine.dispose()
    restored = tmp_path / "restored"
    words = (sys.executable, "-P", "-m", "cli", "restore", second.ref, "--into", str(restored), "--data", str(data), "--json")
    ran = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["id"], told["same"]) == (second.ref, True)
    assert acknowledged - accounts_in(restored / "keychest.db") == set()


def proven(sessions: Sessions, count: int) -> list[Backup]:
    """The stored backups, newest first, once there are so many and all are proven."""
    with sessions.reading() as session:
        found = backups(session)
    return found if len(found) == count and all(backup.restorable for backup in found) else []


def test_every_row_acknowledged_before_the_point_is_in_it(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = make_large(migrated_sqlite, tmp_path / "keychest.db", megabytes=8)
    yard = Yard(Sessions(make_engine(f"sqlite:///{path}")), tmp_path, datetime.now(UTC))
    with writing(yard.sessions) as diary:
        for number in range(ROUNDS):
            before = len(diary.acknowledged)
            run_once(yard, "back_up", "now")
            run_once(yard, "drill", "newest")
            assert len(yard.stored()) == number + 1
            assert len(diary.acknowledged) > before  # while it ran
        assert diary.refused == []
    for backup in yard.stored():
        assert (backup.restorable, backup.fidelity) == (True, 100.0)
        assert backup.at is not None
        owed = {ref for ref, at in diary.acknowledged if at <= backup.at}
        later = {ref for ref, at in diary.acknowledged if at > backup.ended_at}  # type: ignore[operator]  # it is stored, so it ended
        restored = accounts_in(opened(yard, backup))
        assert owed
        assert later
        assert owed - restored == set()
        assert later & restored == set()
    yard.sessions.engine.dispose()


@dataclass(slots=True)
class Diary:
    """Accounts that were acknowledged, each with the time at which it was, and what was refused."""

    acknowledged: list[tuple[str, datetime]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def writing(sessions: Sessions) -> Iterator[Diary]:
    """Writers that commit one account after the other, as the portal does."""
    diary, enough = Diary(), threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not enough.wait(0.002):
            number += 1
            try:
                with sessions.writing() as session:
                    actor = make_actor(session, f"person{number}@{writer}.example.org", now=datetime.now(UTC))
            except sa.exc.SQLAlchemyError as error:
                diary.refused.append(str(error))
            else:
                diary.acknowledged.append((actor.account_ref, datetime.now(UTC)))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: diary.acknowledged)
        yield diary
    finally:
        before = len(diary.acknowledged)
        eventually(lambda: len(diary.acknowledged) > before or diary.refused)  # some come after the last point
        enough.set()
        for thread in threads:
            thread.join()


def opened(yard: Yard, backup: Backup) -> Path:
    """A sealed file's database."""
    plain = yard.folder / f"{backup.ref}.db"
    unseal(yard.folder / "second" / stored_of(backup).sealed, plain, [keys.drill_identity(yard.folder)])
    return plain


def accounts_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {ref for (ref,) in connection.execute("SELECT ref FROM accounts")}
