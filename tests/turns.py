"""Turns of a real sequencer for tests: what it is told, what it published, and a database as a restore leaves it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import read_entry
from audit.keeper import Keeper
from audit.log import Event, append
from audit.note import Checkpoint, Note, Verifier, checkpoint_signed_by, sign
from audit.sequencer import newest
from audit.tables import LogEntry, PrivatePart
from audit.tiles import TileHashes, entry_at
from audit.tree import extended, included, inclusion_proof, leaf_hash, root_of
from core.store.db import Sessions
from tests.conftest import ROOT

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


def tell(sessions: Sessions, many: int) -> None:
    with sessions.writing() as session:
        for each in range(many):
            append(session, Event("domains.added.v1", NOW, "terminal", "", {"added": 1}, {"number": each}))


def files(keeper: Keeper) -> dict[str, bytes]:
    return {path.relative_to(keeper.public).as_posix(): path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}


def verified(keeper: Keeper) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "audit", "verify", str(keeper.public)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
