"""Backups and drills as a worker makes them, on a real SQLite file and real folders, with numeric oracles."""

from __future__ import annotations

import json
import random
import sqlite3
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core import seal
from core.actions.backups import begin_backup, set_hold, stored_of
from core.actions.policy import Actor
from core.backups import keys
from core.backups.engine import BackupError
from core.backups.restore import unseal
from core.backups.stored import get_small
from core.seal import make_identity, recipient_of
from core.store.backups import Backup, Drill
from core.store.db import Sessions, make_engine
from core.targets import open_target
from jobs.backup import back_up
from jobs.look import look
from tests.backups import WORKER, Yard, flip, replace_sealed


@pytest.fixture
def yard(sqlite_url: str, tmp_path: Path) -> Yard:
    (tmp_path / "data").mkdir(mode=0o700)
    return Yard(Sessions(make_engine(sqlite_url)), tmp_path / "data")


@pytest.mark.slow
def test_a_backup_is_stored_sealed_and_proven(yard: Yard) -> None:
    yard.add_accounts(7)
    backup = yard.back_up()
    assert (backup.state, backup.engine, backup.restorable) == ("stored", "sqlite", None)
    assert set(backup.targets.values()) == {""}
    assert len(backup.targets) == 2
    drill = yard.drill()
    assert drill.faults == []
    assert (drill.state, drill.fidelity, drill.coverage, drill.accounts_held) == ("passed", 100.0, 100.0, 7)
    known = yard.known(backup.ref)
    assert known.restorable is True
    assert (known.fidelity, known.coverage) == (100.0, 100.0)
    assert known.manifest["accounts"] == 7
    assert known.manifest["tables"]["watches"]["rows"] == 7
    for path in (yard.sealed(backup), yard.sealed(backup, "second")):
        assert b"example.org" not in path.read_bytes()
        assert path.read_bytes().startswith(b"age-encryption.org/v1")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list((yard.folder / "scratch").iterdir())


def test_each_recipient_opens_it_alone(yard: Yard) -> None:
    backup = yard.back_up()
    for identity in (keys.drill_identity(yard.folder), keys.development_recovery(yard.folder)[0]):
        unseal(yard.sealed(backup), yard.folder / "plain", [identity])
        assert (yard.folder / "plain").read_bytes().startswith(b"SQLite format 3\0")
    with pytest.raises(BackupError) as refused:
        unseal(yard.sealed(backup), yard.folder / "plain", [make_identity()])
    assert refused.value.trouble == "wrong key"


def test_kit_and_escrow_go_apart_from_the_first_target_to_the_offline_key_alone(yard: Yard) -> None:
    yard.add_accounts(2)
    yard.back_up()
    assert [path for path in yard.files("first") if "kits" in path.parts or "escrow" in path.parts] == []
    sealed = yard.files("second", ".age")
    assert {path.parent.name for path in sealed} == {"backups", "kits", "escrow"}
    for path in sealed:
        if path.parent.name != "backups":
            seal.unseal_small(path.read_bytes(), [keys.development_recovery(yard.folder)[0]])
            with pytest.raises(seal.SealError):
                seal.unseal_small(path.read_bytes(), [keys.drill_identity(yard.folder)])


@pytest.mark.slow
def test_the_kit_is_written_at_every_change_and_not_otherwise(yard: Yard) -> None:
    yard.back_up()
    yard.pass_time(timedelta(hours=1))
    yard.back_up()
    assert len(yard.files("second/kits", ".age")) == 1
    (yard.folder / "secret-key").write_text("another key that signs cookies from now on")
    yard.pass_time(timedelta(minutes=5))
    look(yard.context, "now")
    assert len(yard.files("second/kits", ".age")) == 2


@pytest.mark.slow
def test_the_accident_a_copy_with_sixty_per_cent_of_the_accounts(yard: Yard) -> None:
    yard.add_accounts(1_000 // 10)
    backup = yard.back_up()
    stored = stored_of(backup)

    def lose(plain: Path) -> None:
        with sqlite3.connect(plain) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("DELETE FROM accounts WHERE id % 10 < 4")
        connection.close()

    replace_sealed(yard, stored, lose)
    drill = yard.drill()
    assert drill.coverage == 60.0
    assert (drill.accounts_held, drill.accounts_alive) == (60, 100)
    assert drill.fidelity is not None
    assert drill.fidelity < 100
    assert any("accounts has 60 of 100 rows" in words for words in drill.differences)
    assert yard.known(backup.ref).restorable is False
    look(yard.context, "now")
    with yard.sessions.reading() as session:
        alarm = session.execute(sa.text("SELECT message FROM alarms WHERE kind = 'drill-failed'")).scalar_one()
    assert "Coverage 60.000 %." in alarm


@pytest.mark.slow
def test_forty_of_forty_flipped_bytes_are_found(yard: Yard) -> None:
    yard.add_accounts(3)
    backup = yard.back_up()
    paths = (yard.sealed(backup), yard.sealed(backup, "second"))
    whole = paths[0].read_bytes()
    found = 0
    for number in range(40):
        for path in paths:
            path.write_bytes(whole)
            flip(path, random.randrange(len(whole)) if number else 0)
        drill = yard.drill()
        known = yard.known(backup.ref)
        assert known.coverage == 0.0
        found += known.restorable is False and any("damaged" in fault for fault in drill.faults)
    assert found == 40
    for path in paths:
        path.write_bytes(whole)
    assert yard.drill().state == "passed"


@pytest.mark.slow
def test_one_damaged_copy_is_told_though_the_other_restores(yard: Yard) -> None:
    backup = yard.back_up()
    flip(yard.sealed(backup), 300)
    drill = yard.drill()
    assert drill.fidelity == 100.0
    assert len(drill.faults) == 1
    assert "first: the copy is damaged" in drill.faults[0]
    assert yard.known(backup.ref).restorable is False


def _truncate(yard: Yard, backup: Backup) -> None:
    for target in ("first", "second"):
        path = yard.sealed(backup, target)
        path.write_bytes(path.read_bytes()[:-2_000])


def _remove(yard: Yard, backup: Backup) -> None:
    for target in ("first", "second"):
        yard.sealed(backup, target).unlink()


def _other_key(yard: Yard, _backup: Backup) -> None:
    (yard.folder / keys.DRILL_KEY).write_text(f"{make_identity()}\n")


def _changed(statement: str) -> Callable[[Yard, Backup], None]:
    def change(yard: Yard, backup: Backup) -> None:
        def run(plain: Path) -> None:
            with sqlite3.connect(plain) as connection:
                connection.executescript(f"PRAGMA foreign_keys=OFF; {statement}")
            connection.close()

        replace_sealed(yard, stored_of(backup), run)

    return change


def _empty(yard: Yard, backup: Backup) -> None:
    def run(plain: Path) -> None:
        plain.unlink()
        connection = sqlite3.connect(plain)
        connection.execute("VACUUM")
        connection.close()

    replace_sealed(yard, stored_of(backup), run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncate, "truncated"),
        (_remove, "No target has it"),
        (_other_key, "None of the keys given opens it"),
        (_changed("UPDATE installation SET ref = 'anotherplacewith'"), "backup of another installation"),
        (_changed("UPDATE alembic_version SET version_num = '9999'"), "revision 9999, which this version of KeyChest does not know"),
        (_changed("DELETE FROM accounts"), "It is empty: none of the 3 accounts"),
        (_empty, "no table at all"),
        (_changed("ALTER TABLE users RENAME COLUMN email TO mail"), "The portal's own models cannot read it"),
    ],
    ids=["truncated", "missing", "wrong key", "wrong database", "newer schema", "empty dump", "no table", "unreadable by the models"],
)
def test_what_is_wrong_is_told_by_name(yard: Yard, spoil: Callable[[Yard, Backup], None], words: str) -> None:
    yard.add_accounts(3)
    backup = yard.back_up()
    assert yard.drill().state == "passed"
    spoil(yard, backup)
    drill = yard.drill()
    assert any(words in fault for fault in drill.faults), drill.faults
    assert drill.state == "failed"
    assert yard.known(backup.ref).restorable is False


@pytest.mark.slow
def test_accounts_made_since_lower_coverage_and_are_an_alarm_once_an_interval_is_over(yard: Yard) -> None:
    yard.add_accounts(3)
    backup = yard.back_up()
    yard.pass_time(timedelta(minutes=5))
    yard.add_accounts(1, at=yard.at)
    drill = yard.drill()
    assert (drill.state, drill.coverage) == ("passed", 75.0)
    look(yard.context, "now")
    assert alarms_open(yard) == set()
    yard.pass_time(timedelta(days=1, minutes=5))
    drill = yard.drill(backup.ref)
    assert (drill.state, drill.coverage, drill.aged_held, drill.aged_alive) == ("passed", 75.0, 3, 4)
    look(yard.context, "now")
    assert alarms_open(yard) == {"coverage"}
    yard.back_up()
    yard.drill()
    look(yard.context, "now")
    assert alarms_open(yard) == set()


@pytest.mark.slow
def test_an_account_that_is_older_than_the_backup_and_not_in_it_is_a_fault(yard: Yard) -> None:
    yard.add_accounts(3)
    yard.back_up()
    yard.add_accounts(1)  # it says that it was there
    drill = yard.drill()
    assert drill.state == "failed"
    assert drill.faults == ["1 of 4 accounts that are older than it are missing."]


def alarms_open(yard: Yard) -> set[str]:
    with yard.sessions.reading() as session:
        return set(session.scalars(sa.text("SELECT kind FROM alarms WHERE closed_at IS NULL")))


def test_production_refuses_without_a_recovery_key_and_names_the_command(yard: Yard, elsewhere: Path) -> None:
    yard.production = True
    yard.urls = [f"file://{elsewhere}"]
    backup = yard.back_up()
    assert backup.state == "failed"
    assert "./keychest backup keygen" in backup.error
    assert not elsewhere.exists()


def test_production_refuses_a_target_on_the_database_s_own_filesystem(yard: Yard) -> None:
    yard.production = True
    yard.recovery_key = recipient_of(make_identity())
    backup = yard.back_up()
    assert backup.state == "failed"
    assert "lies on the database's own filesystem" in backup.error
    assert yard.files("first") == []
    assert any("lies on the database's own filesystem" in each for each in Yard(yard.sessions, yard.folder).plan.weaknesses())


@pytest.mark.slow
def test_one_target_that_is_gone_is_told_and_the_other_has_it(yard: Yard) -> None:
    (yard.folder / "second").write_text("a file where a folder should be")
    backup = yard.back_up()
    assert backup.state == "stored"
    assert sorted(bool(error) for error in backup.targets.values()) == [False, True]
    look(yard.context, "now")
    assert alarms_open(yard) == {"target", "kit"}


def test_no_target_at_all_fails_and_is_tried_again(yard: Yard) -> None:
    for name in ("first", "second"):
        (yard.folder / name).write_text("a file where a folder should be")
    backup = yard.back_up()
    assert backup.state == "failed"
    assert "No target took it" in backup.error
    for name in ("first", "second"):
        (yard.folder / name).unlink()
    yard.pass_time(timedelta(minutes=10))
    back_up(yard.context)  # due by itself
    assert len(yard.stored()) == 1


def test_two_at_once_are_one(yard: Yard) -> None:
    with yard.sessions.writing() as session:
        first = begin_backup(session, WORKER, engine="sqlite", kind="due", lease=timedelta(minutes=3), now=yard.at)
        assert first is not None
    before = yard.back_up()
    assert before.ref == first.ref
    assert yard.stored() == []
    yard.pass_time(timedelta(minutes=4))
    back_up(yard.context)
    assert [backup.state for backup in _all(yard)] == ["failed", "stored"]
    assert "stopped in the middle" in _all(yard)[0].error


@pytest.mark.slow
def test_persisted_but_not_noted_is_noted_and_not_made_again(yard: Yard) -> None:
    backup = yard.back_up()
    with yard.sessions.writing() as session:  # as a worker that was killed between the last upload and its note leaves it
        values: dict[str, object] = {"state": "running", "ended_at": None, "targets": {}, "lease_until": yard.at + timedelta(minutes=3)}
        session.execute(sa.update(Backup).values(values))
    yard.pass_time(timedelta(minutes=5))
    yard.back_up()
    assert {each.state for each in _all(yard)} == {"stored"}
    assert len(_all(yard)) == 2
    assert set(yard.known(backup.ref).targets.values()) == {""}


def test_begun_and_not_persisted_is_told_as_failed_and_leaves_no_plain_copy(yard: Yard) -> None:
    with yard.sessions.writing() as session:
        begun = begin_backup(session, WORKER, engine="sqlite", kind="due", lease=timedelta(minutes=3), now=yard.at)
        assert begun is not None
        ref = begun.ref
    left = yard.folder / "scratch" / f"backup-{ref}"
    left.mkdir(parents=True)
    (left / "keychest.db").write_bytes(b"plain")
    yard.pass_time(timedelta(minutes=5))
    yard.back_up()
    assert not left.exists()
    assert [backup.state for backup in _all(yard)] == ["failed", "stored"]


def _all(yard: Yard) -> list[Backup]:
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.select(Backup).order_by(Backup.id)))


@pytest.mark.slow
def test_a_drill_that_was_stopped_is_told_and_held_anew(yard: Yard) -> None:
    from core.actions.backups import begin_drill

    backup = yard.back_up()
    with yard.sessions.writing() as session:
        begin_drill(session, WORKER, backup=session.get_one(Backup, backup.id), now=yard.at)
    yard.drill()
    with yard.sessions.reading() as session:
        states = list(session.scalars(sa.select(Drill.state).order_by(Drill.id)))
    assert states == ["failed", "passed"]


@pytest.mark.slow
def test_retention_keeps_the_newest_proven_and_removes_what_is_too_old(yard: Yard) -> None:
    yard.keep = "hourly=0,daily=2,weekly=0,monthly=0"
    made = []
    for _ in range(5):
        made.append(yard.back_up().ref)
        yard.drill()
        look(yard.context, "now")
        yard.pass_time(timedelta(days=1))
    assert [backup.ref for backup in yard.stored()] == made[:-3:-1]
    assert len(yard.files("first/backups", ".age")) == len(yard.files("second/backups", ".json")) == 2
    with yard.sessions.reading() as session:
        removed = session.scalar(sa.select(sa.func.count()).where(OutboxEvent.kind == "backup.removed.v1"))
    assert removed == 3


@pytest.mark.slow
@pytest.mark.parametrize("why", ["hold", "clock ahead", "clock behind", "not proven"])
def test_nothing_is_removed(yard: Yard, why: str) -> None:
    yard.keep = "hourly=0,daily=1,weekly=0,monthly=0"
    for _ in range(3):
        yard.back_up()
        if why != "not proven":
            yard.drill()
        yard.pass_time(timedelta(days=1))
    yard.pass_time(-timedelta(days=1))
    if why == "hold":
        with yard.sessions.writing() as session:
            set_hold(session, Actor(terminal=True), reason="an incident", now=yard.at)
    yard.pass_time(timedelta(days={"clock ahead": 2, "clock behind": -2}.get(why, 0)))
    look(yard.context, "now")
    assert len(yard.stored()) == 3


@pytest.mark.slow
def test_the_wrong_clock_is_outlived_and_the_next_run_succeeds(yard: Yard) -> None:
    yard.back_up()
    yard.pass_time(timedelta(days=1))
    yard.back_up()
    yard.pass_time(-timedelta(days=1))
    backup = yard.back_up()
    assert backup.state == "stored"
    assert yard.drill(backup.ref).state == "passed"


@pytest.mark.slow
def test_a_drill_with_the_offline_key_opens_backup_and_kit(yard: Yard) -> None:
    from jobs.drill import drill

    backup = yard.back_up()
    path = yard.folder / keys.RECOVERY_KEY
    drill(yard.context, backup.ref, str(path))
    assert yard.known(backup.ref).restorable is True
    for kit in yard.files("second/kits", ".age"):
        flip(kit, kit.stat().st_size - 3)
    drill(yard.context, backup.ref, str(path))
    assert "recovery kit cannot be opened" in yard.known(backup.ref).why


def test_a_label_holds_counts_and_hashes_and_no_row(yard: Yard) -> None:
    yard.add_accounts(1)
    backup = yard.back_up()
    label = get_small(open_target((yard.folder / "first").as_uri()), stored_of(backup).label)
    assert b"example.org" not in label
    assert json.loads(label)["manifest"]["head"] > 0
