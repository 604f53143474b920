"""The sequencer: entries in order, without gaps, signed and published."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.exc import DBAPIError

from audit.entry import opens
from audit.keeper import Keeper, KeeperError
from audit.log import Event, append
from audit.note import Checkpoint, Note, Signature, cosign, public_of
from audit.sequencer import Sequencer, newest
from audit.tables import CountedEvent, LogEntry, OutboxEvent, PrivatePart
from audit.tiles import tiles_of
from audit.tree import extended, leaf_hash, root_of
from core.store.db import Sessions
from tests.turns import NOW, ORIGIN, events, kinds, told


def test_a_log_begins_with_its_origin_and_key_and_is_signed_at_once(sequencer: Sequencer, keeper: Keeper) -> None:
    assert sequencer.turn(NOW) == 1
    assert kinds(keeper) == ["log.started.v1"]
    assert told(keeper)[0]["said"] == {"origin": ORIGIN, "vkey": public_of(keeper.key(), ORIGIN).vkey}
    assert sequencer.turn(NOW) == 0
    assert (keeper.folder / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    for damaged in (b"", b"no note", b"a note of another shape\n\n\xe2\x80\x94 a AAAAAAA=\n"):
        (keeper.public / "checkpoint").write_bytes(damaged)
        Sequencer(sessions, keeper, ORIGIN).turn(NOW)
        assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
    (keeper.public / "tile" / "0" / "001.p" / "44").unlink()
    (keeper.public / "tile" / "entries" / "000").write_bytes(b"something else")
    with pytest.raises(KeeperError, match="never overwritten"):
        Sequencer(sessions, keeper, ORIGIN).turn(NOW)


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
