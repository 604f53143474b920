"""The sequencer: entries in order, without gaps, signed and published; and what it refuses to sign."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from audit.counting import digest_of
from audit.entry import opens, read_entry
from audit.erasing import erase_counted, erase_private, private_of_account
from audit.keeper import Keeper, KeeperError
from audit.log import Event, append
from audit.note import Checkpoint, Note, Signature, Verifier, checkpoint_signed_by, cosign, public_of, sign
from audit.sequencer import Sequencer, newest
from audit.tables import CountedEvent, Erasure, Log, LogEntry, OutboxEvent, PrivatePart
from audit.tiles import TileHashes, entry_at, tiles_of
from audit.tree import extended, included, inclusion_proof, leaf_hash, root_of
from core.store.db import Sessions

NOW = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC)
ORIGIN = "keychest.example/log"


def events(
    sessions: Sessions, *numbers: int, kind: str = "domains.added.v1", at: datetime = NOW, account: str = "abcdefghjkmnpqrs"
) -> None:
    with sessions.writing() as session:
        for each in numbers:
            public: dict[str, str | int | bool] = {"added": each, "restored": 0}
            append(session, Event(kind, at, "user:zyxwvutsrqpnmkjh", account, public, {"names": f"canary-{each}.example.org"}))


def told(keeper: Keeper, number: int = 1) -> list[dict[str, object]]:
    """Every published entry, each of them proven by the checkpoint."""
    folder = keeper.public_of(number)
    note = Note.read((folder / "checkpoint").read_bytes())
    checkpoint = Checkpoint.read(note.text)
    hash_of = TileHashes(lambda path: (folder / path).read_bytes(), checkpoint.size)
    bodies = [entry_at(lambda path: (folder / path).read_bytes(), each, checkpoint.size) for each in range(checkpoint.size)]
    for index, body in enumerate(bodies):
        proof = inclusion_proof(hash_of, index, checkpoint.size)
        assert included(leaf_hash(body), index, checkpoint.size, proof, checkpoint.root)
    first = read_entry(bodies[0])
    assert (first["kind"], first["said"]["origin"]) == ("log.started.v1", checkpoint.origin)
    vkeys = [first["said"]["vkey"], *(each["said"]["new"] for each in map(read_entry, bodies) if each["kind"] == "log.key_rotated.v1")]
    checkpoint_signed_by((folder / "checkpoint").read_bytes(), checkpoint.origin, [Verifier.read(vkeys[-1])])
    return [read_entry(body) for body in bodies]


def kinds(keeper: Keeper, number: int = 1) -> list[object]:
    return [each["kind"] for each in told(keeper, number)]


def test_a_log_begins_with_its_origin_and_key_and_is_signed_at_once(sequencer: Sequencer, keeper: Keeper) -> None:
    assert sequencer.turn(NOW) == 1
    assert kinds(keeper) == ["log.started.v1"]
    assert told(keeper)[0]["said"] == {"origin": ORIGIN, "vkey": public_of(keeper.key(), ORIGIN).vkey}
    assert sequencer.turn(NOW) == 0
    assert (keeper.folder / "key").stat().st_mode & 0o777 == 0o600


def test_events_become_entries_in_order_once_each_and_leave_the_outbox(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    events(sessions, *range(1, 301))
    assert sequencer.turn(NOW) == 301
    events(sessions, 301)
    assert sequencer.turn(NOW) == 1
    found = told(keeper)
    with sessions.reading() as session:
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
        bodies = session.scalars(sa.select(LogEntry.body).order_by(LogEntry.index)).all()
        assert session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) == 0
        log = newest(session)
    assert [part.sealed["names"][1] for part in parts[1:]] == [f"canary-{each}.example.org" for each in range(1, 302)]
    assert [part.index for part in parts] == list(range(302)) == list(range(len(found)))
    assert all(opens(body, part.sealed) == [] for body, part in zip(bodies, parts, strict=True))
    assert log is not None
    assert b"".join(extended([], 0, map(leaf_hash, bodies))) == log.frontier
    assert keeper.last(1) == Checkpoint(ORIGIN, 302, root_of(extended([], 0, map(leaf_hash, bodies))))
    assert found[1]["said"] == {"added": "1 to 9", "restored": "0"}
    assert found[1]["by"] == "person"


def test_what_is_published_is_just_the_tiles_of_the_log_and_names_nobody(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    for first in range(1, 600, 37):
        events(sessions, *range(first, first + 37))
        sequencer.turn(NOW)
    size = len(told(keeper))
    files = {path.relative_to(keeper.public).as_posix(): path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    assert {"checkpoint", *(tile.path for tile in tiles_of(size))} <= set(files)
    assert not [path for path in files if path.startswith("tile/0/000.p/")], "partial tiles stay beside their full one"
    everything = b"".join(files.values())
    for canary in (b"canary", b"example.org", b"abcdefghjkmnpqrs", b"zyxwvutsrqpnmkjh"):
        assert canary not in everything


def test_hours_of_quiet_and_clocks_that_are_set_back_are_told(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    sequencer.turn(NOW)
    assert sequencer.turn(NOW + timedelta(minutes=59)) == 0
    assert sequencer.turn(NOW + timedelta(minutes=60)) == 1
    events(sessions, 1, 2)
    assert sequencer.turn(NOW - timedelta(days=1)) == 2
    events(sessions, 3)
    sequencer.turn(NOW)
    found = told(keeper)
    assert [each["kind"] for each in found[:2]] == ["log.started.v1", "hour.passed.v1"]
    assert [each.get("back_s") for each in found] == [None, None, 25 * 3600, None, None]
    assert [each["logged"] for each in found[1:4]] == ["2026-11-28T13:00Z", "2026-11-27T12:00Z", "2026-11-27T12:00Z"]


def test_sign_ins_are_counted_by_the_hour_and_committed_to_one_by_one(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    with sessions.writing() as session:
        for each in range(12):
            append(session, Event("user.signed_in.v1", NOW, "user:zyxwvutsrqpnmkjh", public={"factor": ""}))
            append(
                session, Event("sign_in.failed.v1", NOW, "nobody", private={"user": "zyxwvutsrqpnmkjh" if each == 3 else f"canary{each}"})
            )
        append(session, Event("user.signed_out.v1", NOW + timedelta(minutes=59, seconds=40), "user:zyxwvutsrqpnmkjh"))
    assert sequencer.turn(NOW) == 1
    assert sequencer.turn(NOW + timedelta(minutes=59)) == 0
    assert sequencer.turn(NOW + timedelta(minutes=59, seconds=30)) == 1
    hour = told(keeper)[-1]
    assert hour["kind"] == "sign_ins.counted.v1"
    with sessions.reading() as session:
        rows = session.scalars(sa.select(CountedEvent).where(CountedEvent.index == 1).order_by(CountedEvent.id)).all()
        assert session.scalar(sa.select(sa.func.count()).where(CountedEvent.index.is_(None))) == 1
    digest = hashlib.sha256(b"".join(bytes.fromhex(row.commitment) for row in rows)).hexdigest()
    assert hour["said"] == {"signed_in": "10 to 99", "signed_out": "0", "failed": "10 to 99", "hour": "2026-11-28T12Z", "digest": digest}
    assert len(rows) == 24
    told_of = {"at": "2026-11-28T12:00:30.000+00:00", "kind": "user.signed_in.v1", "actor": "user:zyxwvutsrqpnmkjh"}
    value = json.dumps(told_of | {"public": {"factor": ""}, "private": {}}, sort_keys=True, separators=(",", ":")).encode()
    assert rows[0].commitment == hashlib.sha256(bytes.fromhex(rows[0].salt) + value).hexdigest()
    with sessions.writing() as session:
        assert erase_counted(session, "zyxwvutsrqpnmkjh") == 13
    with sessions.reading() as session:
        left = session.scalars(sa.select(CountedEvent).where(CountedEvent.index == 1).order_by(CountedEvent.id)).all()
        waits = session.scalars(sa.select(CountedEvent).where(CountedEvent.index.is_(None))).one()
    assert digest_of([row.commitment for row in left]) == digest
    assert [row.salt == "" for row in left] == [each % 2 == 0 or each == 7 for each in range(24)]
    assert "zyxwvutsrqpnmkjh" not in json.dumps([[row.actor, row.public, row.private] for row in left])
    assert waits.actor == "user:zyxwvutsrqpnmkjh"


def test_a_key_is_rotated_by_an_entry_that_both_keys_signed(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    sequencer.turn(NOW)
    old = keeper.key()
    keeper.make_next_key()
    assert sequencer.turn(NOW) == 1
    new = keeper.key()
    said = told(keeper)[-1]["said"]
    assert isinstance(said, dict)
    text = f"keychest log key rotation\n{ORIGIN}\n{public_of(old, ORIGIN).vkey}\n{public_of(new, ORIGIN).vkey}\n".encode()
    old.public_key().verify(base64.b64decode(said["by_old"]), text)
    new.public_key().verify(base64.b64decode(said["by_new"]), text)
    assert keeper.next_key() is None
    events(sessions, 1)
    assert sequencer.turn(NOW) == 1
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert kinds(keeper) == ["log.started.v1", "log.key_rotated.v1", "domains.added.v1"]


def restored(sessions: Sessions, keeper: Keeper, size: int, changed: int | None = None) -> None:
    """The database as a backup had it: so many entries and no more; or as somebody with the log's key would change one entry of it."""
    with sessions.writing() as session:
        if changed is not None:
            body = session.scalars(sa.select(LogEntry.body).where(LogEntry.index == changed)).one().replace(b"1 to 9", b"0")
            unguarded(session, sa.update(LogEntry).where(LogEntry.index == changed).values(body=body))
        bodies = session.scalars(sa.select(LogEntry.body).where(LogEntry.index < size).order_by(LogEntry.index)).all()
        unguarded(session, sa.delete(LogEntry).where(LogEntry.index >= size))
        session.execute(sa.delete(PrivatePart).where(PrivatePart.index >= size))
        log = newest(session)
        assert log is not None
        frontier = extended([], 0, map(leaf_hash, bodies))
        text = Checkpoint(ORIGIN, size, root_of(frontier)).text
        log.size, log.frontier, log.note = size, b"".join(frontier), Note(text, (sign(text, ORIGIN, keeper.key()),)).raw.decode()


def unguarded(session: Session, statement: sa.Executable) -> None:
    """Run a statement as somebody does who takes the triggers off: a superuser, or whoever writes the file."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_stay"))
        session.execute(statement)
        session.execute(sa.text("ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER audit_entries_stay"))
        return
    made = session.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'")).all()
    for name, _ in made:
        session.execute(sa.text(f"DROP TRIGGER {name}"))
    session.execute(statement)
    for _, sql in made:
        session.connection().exec_driver_sql(sql)


def trouble(sessions: Sessions) -> str:
    with sessions.reading() as session:
        log = newest(session)
        return log.trouble if log else ""


def test_after_a_restore_nothing_is_signed_until_another_log_is_begun(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    events(sessions, *range(1, 10))
    sequencer.turn(NOW)
    before = {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    promised = keeper.last(1)
    assert promised is not None
    restored(sessions, keeper, 6)
    events(sessions, 100, 101)
    for each in (sequencer, Sequencer(sessions, keeper, ORIGIN)):
        for later in (0, 1, 40):
            assert each.turn(NOW + timedelta(seconds=later)) == 0
        assert "holds 6 entries of 10 that were signed" in trouble(sessions)
        assert "log continue" in trouble(sessions)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
    assert keeper.last(1) == promised
    with sessions.writing() as session:
        session.add(Log(number=2, origin=f"{ORIGIN}/2", reason="the backup of Tuesday", begun_at=NOW))
    assert sequencer.turn(NOW) == 3
    assert trouble(sessions) == ""
    first, *rest = told(keeper, 2)
    assert first["said"] == {
        "origin": f"{ORIGIN}/2", "vkey": public_of(keeper.key(), f"{ORIGIN}/2").vkey, "reason": "the backup of Tuesday",
        "previous_origin": ORIGIN, "previous_size": 10, "previous_root": base64.b64encode(promised.root).decode(), "previous_kept": 6,
    }  # fmt: skip
    assert [each["kind"] for each in rest] == ["domains.added.v1"] * 2
    assert (keeper.public / "continued").read_text() == "2\n"
    assert len(kinds(keeper)) == 10, "the old log stays as it was"
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert trouble(sessions) == ""


@pytest.mark.parametrize("lost", ["outside", "log", "newer", "entry", "changed", "frontier", "damaged", "origin", "fork"])
def test_a_database_or_folder_that_is_not_as_it_was_signs_nothing(
    lost: str, sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    events(sessions, *range(1, 6))
    sequencer.turn(NOW)
    note = (keeper.folder / "last-checkpoint-1").read_bytes()
    with sessions.writing() as session:
        log = newest(session)
        assert log is not None
        if lost == "outside":
            (keeper.folder / "last-checkpoint-1").unlink()
        elif lost == "log":
            unguarded(session, sa.delete(LogEntry))
            session.execute(sa.delete(Log))
        elif lost == "newer":
            keeper.keep_last(2, note)
        elif lost == "entry":
            unguarded(session, sa.delete(LogEntry).where(LogEntry.index == 3))
        elif lost == "changed":
            unguarded(session, sa.update(LogEntry).where(LogEntry.index == 3).values(body=b"{}"))
        elif lost == "frontier":
            log.frontier = log.frontier[:-32] + bytes(32)
        elif lost == "damaged":
            (keeper.folder / "last-checkpoint-1").write_bytes(note[:-9])
        elif lost == "origin":
            log.origin = "another.example/log"
    if lost == "fork":
        restored(sessions, keeper, 6, changed=3)
    events(sessions, 7)
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert trouble(sessions).endswith("docs/runbook.md says how.")
    with sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) == 1, "what happens meanwhile is kept"


def test_a_trouble_that_was_mended_is_over(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    sequencer.turn(NOW)
    kept = (keeper.folder / "last-checkpoint-1").rename(keeper.folder / "aside")
    fresh = Sequencer(sessions, keeper, ORIGIN)
    fresh.turn(NOW)
    assert trouble(sessions)
    kept.rename(keeper.folder / "last-checkpoint-1")
    events(sessions, 1)
    assert fresh.turn(NOW + timedelta(minutes=1)) == 1
    assert not trouble(sessions)


def test_what_is_published_is_made_again_from_the_database_and_never_overwritten(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    events(sessions, *range(1, 300))
    sequencer.turn(NOW)
    before = {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    shutil.rmtree(keeper.public)
    keeper.prepare()
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
    (keeper.public / "tile" / "entries" / "000").unlink()
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
    (keeper.public / "tile" / "0" / "001.p" / "44").unlink()
    (keeper.public / "tile" / "entries" / "000").write_bytes(b"something else")
    with pytest.raises(KeeperError, match="never overwritten"):
        Sequencer(sessions, keeper, ORIGIN).turn(NOW)


def test_erasing_takes_salts_and_values_and_every_proof_holds_also_after_a_restore(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    events(sessions, 1, 2)
    events(sessions, 3, account="another2another2")
    sequencer.turn(NOW)
    before = told(keeper)
    with sessions.reading() as session:
        kept = [
            (part.index, part.at, part.kind, part.actor, part.account_ref, part.sealed) for part in session.scalars(sa.select(PrivatePart))
        ]
    with sessions.writing() as session:
        assert erase_private(session, private_of_account(session, "abcdefghjkmnpqrs"), NOW) == 2
    sequencer.turn(NOW)
    assert told(keeper) == before
    assert keeper.erased() == {(1, 1), (1, 2)}
    assert (keeper.folder / "erased").read_text() == "1 1\n1 2\n"
    with sessions.writing() as session:  # a backup of before comes back
        session.execute(sa.delete(Erasure))
        session.execute(sa.delete(PrivatePart))
        for index, at, kind, actor, account, sealed in kept:
            session.add(PrivatePart(log=1, index=index, at=at, kind=kind, actor=actor, account_ref=account, sealed=sealed))
    keeper.keep_erased([(1, 1), (1, 2), (1, 50)])  # the last one is of an entry that the backup has not
    Sequencer(sessions, keeper, ORIGIN).turn(NOW)
    with sessions.reading() as session:
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
        assert [part.index for part in parts] == [0, 3]
        assert set(session.execute(sa.select(Erasure.log, Erasure.index))) == {(1, 1), (1, 2), (1, 50)}
    assert keeper.erased() == {(1, 1), (1, 2), (1, 50)}
    assert "canary-1" not in json.dumps([part.sealed for part in parts])


def test_what_was_erased_is_erased_again_before_anybody_says_why_and_never_in_another_installation(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path
) -> None:
    events(sessions, *range(1, 10))
    sequencer.turn(NOW)
    with sessions.writing() as session:
        erase_private(session, [(1, 2)], NOW)
        kept = [
            (part.index, part.at, part.kind, part.actor, part.account_ref, part.sealed) for part in session.scalars(sa.select(PrivatePart))
        ]
    sequencer.turn(NOW)
    restored(sessions, keeper, 6)
    with sessions.writing() as session:
        session.execute(sa.delete(Erasure))
        _, at, kind, actor, account, sealed = kept[1]
        session.add(PrivatePart(log=1, index=2, at=at, kind=kind, actor=actor, account_ref=account, sealed=sealed))

    def left() -> list[int]:
        with sessions.reading() as session:
            return list(session.scalars(sa.select(PrivatePart.index).order_by(PrivatePart.index)))

    other = Keeper(tmp_path / "other")
    other.prepare()
    shutil.copytree(keeper.public, other.public, dirs_exist_ok=True)
    bundle = other.public / "tile" / "entries" / "000.p" / "10"
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1', b'"v":2', 1))
    other.keep_erased([(1, 1), (1, 2), (1, 3)])
    other.keep_last(1, (keeper.folder / "last-checkpoint-1").read_bytes())
    assert Sequencer(sessions, other, ORIGIN).turn(NOW) == 0
    assert left() == [0, 1, 2, 3, 4, 5], "a folder of another installation erases nothing here"
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW + timedelta(minutes=2)) == 0
    assert trouble(sessions)
    assert left() == [0, 1, 3, 4, 5]


def test_no_statement_changes_or_deletes_an_entry(sequencer: Sequencer, sessions: Sessions) -> None:
    sequencer.turn(NOW)
    statements = ["UPDATE audit_entries SET body = body", "DELETE FROM audit_entries"]
    if sessions.engine.dialect.name == "postgresql":
        statements += ["TRUNCATE audit_entries", "TRUNCATE audit_logs CASCADE"]
    else:
        statements += ["INSERT OR REPLACE INTO audit_entries VALUES (1, 0, x'00')", "REPLACE INTO audit_entries VALUES (1, 0, x'00')"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="only ever added"), sessions.writing() as session:
            session.execute(sa.text(statement))
    if sessions.engine.dialect.name == "sqlite":  # who opens the file with sqlite3 has the triggers too
        path = str(sessions.engine.url.database)
        for statement in statements:
            with closing(sqlite3.connect(path)) as raw, pytest.raises(sqlite3.DatabaseError, match="only ever added"):
                raw.execute(statement)


def test_two_sequencers_on_one_folder_take_turns_and_never_work_at_once(sequencer: Sequencer, keeper: Keeper) -> None:
    with keeper.claimed() as first:
        assert first
        with Keeper(keeper.folder).claimed() as second:
            assert not second
        left, writing = (keeper.folder / "tmp" / name for name in ("1-tile", "2-key.next"))
        for each in (left, writing):
            each.write_bytes(b"half")
        os.utime(left, (each.stat().st_mtime - 90,) * 2)
        Keeper(keeper.folder).prepare()
        assert left.exists(), "who comes second touches nothing of the first's"
    with Keeper(keeper.folder).claimed() as third:
        assert third
        assert not left.exists()
        assert writing.exists(), "somebody may be about to give it its name"


def test_a_second_machine_without_the_folder_signs_nothing_and_harms_nothing(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path
) -> None:
    events(sessions, *range(1, 5))
    sequencer.turn(NOW)
    elsewhere = Keeper(tmp_path / "elsewhere")
    elsewhere.prepare()
    other = Sequencer(sessions, elsewhere, ORIGIN)
    for first in range(5, 45, 5):
        events(sessions, *range(first, first + 5))
        assert other.turn(NOW) == 0
        assert sequencer.turn(NOW) == 5
    assert not [path for path in elsewhere.public.rglob("*") if path.is_file()]
    assert len(told(keeper)) == 45
    assert sequencer.turn(NOW) == 0
    assert not trouble(sessions)


def test_under_a_clock_that_jumps_entries_keep_the_order_of_their_events(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    jumps = [0, 5, -3600, 60, 86_400, -86_400, 1]
    now = NOW
    for number, jump in enumerate(jumps):
        now += timedelta(seconds=jump)
        events(sessions, number + 1, at=now)
        sequencer.turn(now)
    found = [each for each in told(keeper) if each["kind"] == "domains.added.v1"]
    assert [each.get("back_s") for each in found] == [None, None, 3_600, None, None, 86_400, None]
    with sessions.reading() as session:
        parts = session.scalars(sa.select(PrivatePart).where(PrivatePart.kind == "domains.added.v1").order_by(PrivatePart.index))
        assert [part.sealed["added"][1] for part in parts] == list(range(1, len(jumps) + 1))


class Few:
    """A witness that is asked for, beside one that never answers."""

    quorum, many, gives = 2, 2, 1

    def cosignatures(self, note: Note, checkpoint: Checkpoint, proof_from: object, now: datetime) -> list[Signature]:
        key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        return [cosign(note.text, f"witness.example/{each}", key, int(now.timestamp())) for each in range(self.gives)]


def test_nothing_is_published_before_enough_witnesses_cosigned(sessions: Sessions, keeper: Keeper) -> None:
    few = Few()
    sequencer = Sequencer(sessions, keeper, ORIGIN, few)
    assert sequencer.turn(NOW) == 1
    assert not (keeper.public / "checkpoint").exists()
    assert keeper.last(1), "what a witness may have seen is kept outside first"
    few.quorum = 1
    sequencer.turn(NOW + timedelta(seconds=1))
    assert (keeper.public / "checkpoint").exists()
    events(sessions, 1)
    few.gives = 2
    sequencer.turn(NOW + timedelta(seconds=2))
    assert len(Note.read((keeper.public / "checkpoint").read_bytes()).signatures) == 3


def test_a_database_that_is_replaced_between_the_look_and_the_act_is_compared_anew(sessions: Sessions, keeper: Keeper) -> None:
    class Replaced(Sequencer):
        at = 0

        def _ready(self, now: datetime) -> bool:
            found = super()._ready(now)
            Replaced.at += 1
            if Replaced.at == 3:
                restored(sessions, keeper, 6)
            return found

    first = Replaced(sessions, keeper, ORIGIN)
    events(sessions, *range(1, 10))
    first.turn(NOW)
    Replaced.at = 2
    events(sessions, 100)
    before = {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    assert first.turn(NOW) == 0
    assert first.turn(NOW) == 0
    assert "holds 6 entries of 10 that were signed" in trouble(sessions)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_what_is_published_and_not_the_key() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        keeper = Keeper(Path(folder) / "log")
        keeper.prepare()
        keeper.key()
        keeper.make_next_key()
        keeper.put_public(keeper.public / "checkpoint", b"public")
        read = [shutil.which("cat") or "cat"]
        for name, refused in (("key", True), ("key.next", True), ("public/checkpoint", False)):
            tried = subprocess.run([*read, keeper.folder / name], user=65_534, capture_output=True, text=True, check=False)
            assert ("Permission denied" in tried.stderr) is refused, name
            assert (tried.returncode != 0) is refused, name


def test_an_event_that_no_action_writes_neither_stops_the_log_nor_is_taken_for_its_own(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    sequencer.turn(NOW)
    row = {"at": NOW, "kind": "domains.added.v1", "actor": "nobody", "account_ref": "", "public": {}, "private": {}}
    forged: list[dict[str, object]] = [
        {"kind": "log.key_rotated.v1", "public": {"origin": ORIGIN, "old": "x", "new": "y"}},
        {"kind": "log.started.v1"},
        {"kind": "hour.passed.v1"},
        {"public": {"added": "many"}},
        {"public": {"added": None}},
        {"kind": "api_token.made.v1", "public": {"scopes": "x" * 70_000}},
        {"private": {f"f{each}": each for each in range(1_000)}},
        {"kind": "user.signed_in.v1", "public": {"factor": {"deep": [1, 2]}}},
    ]
    if sessions.engine.dialect.name == "sqlite":  # PostgreSQL takes neither
        forged += [
            {"kind": "k" * 70_000},
            {"private": {"number": float("nan")}},
            {"kind": "sign_in.failed.v1", "private": {"n": float("nan")}},
        ]
    with sessions.writing() as session:
        session.execute(sa.insert(OutboxEvent), [row | each for each in forged])
    events(sessions, 1)
    sequencer.turn(NOW)
    assert kinds(keeper) == ["log.started.v1", *["event.forged.v1"] * (len(forged) - 1), "domains.added.v1"]
    assert {json.dumps(each["said"]) for each in told(keeper)[1:-1]} == {"{}"}
    with sessions.reading() as session:
        part = session.get_one(PrivatePart, (1, 1))
        assert session.scalar(sa.select(sa.func.count()).select_from(CountedEvent)) == 1
    assert "log.key_rotated.v1" in part.sealed["told"][1]
    for own in ("log.started.v1", "event.forged.v1"):
        with pytest.raises(ValueError, match="by the log itself"), sessions.writing() as session:
            append(session, Event(own, NOW, "terminal"))
