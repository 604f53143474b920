"""The crash table of the sequencer: each step fails twice, before it had its effect and after it, and the next turn makes good."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import publish, sequencer
from audit.entry import read_entry
from audit.erasing import erase_private
from audit.keeper import Keeper
from audit.log import Event, append
from audit.note import COSIGNATURE, Checkpoint, Note, Signature, Verifier, cosign, public_of
from audit.sequencer import Sequencer, newest
from audit.tables import Erasure, Log, LogEntry, OutboxEvent, PrivatePart
from audit.tiles import WIDTH, tiles_of
from audit.tree import extended, leaf_hash, root_of
from core.store.db import Sessions
from tests.steps import seldom
from tests.turns import NOW, ORIGIN


class Crash(BaseException):
    """The process is gone: nothing of ours catches this."""


class Cosigner:
    """A witness in this process: it gives what a real one gives, by a key of its own."""

    quorum, many = 1, 1

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    def cosignatures(self, note: Note, checkpoint: Checkpoint, proof_from: Callable[[int], list[bytes]], now: datetime) -> list[Signature]:
        return [cosign(note.text, "witness.example/w", self.key, int(now.timestamp()))]

    @property
    def verifier(self) -> Verifier:
        return public_of(self.key, "witness.example/w", COSIGNATURE)


@contextmanager
def crashing(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, at: int, persisted: bool, error: type[BaseException] = Crash
) -> Iterator[list[int]]:
    """The `at`-th call of a function is the last thing that the process does: before it begins, or once it has done its work."""
    real = getattr(owner, name)
    calls: list[int] = []

    def crashed(*words: Any, **named: Any) -> Any:
        calls.append(len(calls))
        if len(calls) - 1 != at:
            return real(*words, **named)
        if persisted:
            real(*words, **named)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, crashed)
        yield calls


def tell(sessions: Sessions, first: int, many: int) -> None:
    with sessions.writing() as session:
        for each in range(first, first + many):
            append(session, Event("domains.added.v1", NOW, "user:zyxwvutsrqpnmkjh", "abcdefghjkmnpqrs", {"added": each}, {"number": each}))


def whole(sessions: Sessions, keeper: Keeper, number: int, events: int, cosigner: Cosigner | None) -> None:
    """Nothing lost, nothing doubled, no gap; the tree from scratch is what is stored, kept outside, and published, with all its files."""
    with sessions.reading() as session:
        log = session.get(Log, number)
        rows = session.execute(sa.select(LogEntry.index, LogEntry.body).where(LogEntry.log == number).order_by(LogEntry.index)).all()
        parts = session.scalars(sa.select(PrivatePart).where(PrivatePart.log == number).order_by(PrivatePart.index)).all()
        assert session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) == 0
    assert log is not None
    assert not log.trouble
    assert [index for index, _ in rows] == list(range(log.size))
    told = [part.sealed["number"][1] for part in parts if "number" in part.sealed]
    assert told == list(range(events))
    assert read_entry(rows[0].body)["kind"] == "log.started.v1"
    frontier = extended([], 0, (leaf_hash(body) for _, body in rows))
    checkpoint = Checkpoint(log.origin, log.size, root_of(frontier))
    published = publish.published_note(keeper, number)
    assert published is not None
    assert keeper.last(number) == checkpoint == Checkpoint.read(published.text)
    signed = [public_of(keeper.key(), log.origin), *([cosigner.verifier] if cosigner else [])]
    assert len(published.signed_by(signed)) == len(signed)
    folder = keeper.public_of(number)
    needed = {tile.path for tile in tiles_of(log.size)}
    assert all((folder / path).is_file() for path in needed)
    assert not [path for path in keeper.public.rglob("*") if path.is_file() and path.suffix in {".tmp", ".new"}]
    full = [tile for tile in tiles_of(log.size) if tile.width == WIDTH]
    assert not [tile.path for tile in full if (folder / f"{tile.path}.p").exists()]
    made = folder.parent / "made-again"
    again = Keeper(made)
    again.prepare()
    publish.publish_tiles(again, 1, log.size, 0, lambda first, end: [body for _, body in rows[first:end]])
    assert all((folder / path).read_bytes() == (again.public / path).read_bytes() for path in needed)
    shutil.rmtree(made)


STEPS: dict[str, tuple[Any, str]] = {
    "commit": (None, "do_commit"),
    "first key": (Keeper, "key"),
    "keep the last checkpoint": (Keeper, "keep_last"),
    "a bundle or a tile": (Keeper, "put_public"),
    "all tiles": (sequencer, "publish_tiles"),
    "cosignatures": (Cosigner, "cosignatures"),
    "say that another log goes on": (sequencer, "say_continued"),
    "the checkpoint": (sequencer, "publish_checkpoint"),
    "take the next key": (Keeper, "take_next_key"),
    "carry erasures": (sequencer, "carry_erasures"),
    "keep the list of erasures": (Keeper, "keep_erased"),
}


def prepared(sessions: Sessions, keeper: Keeper, cosigner: Cosigner, phase: str) -> int:
    """An installation just before the turn in which something fails; how many events its newest log will have."""
    if phase == "first":
        tell(sessions, 0, 3)
        return 3
    tell(sessions, 0, 250)
    Sequencer(sessions, keeper, ORIGIN, cosigner).turn(NOW)
    if phase == "more":
        keeper.make_next_key()
        with sessions.writing() as session:
            assert erase_private(session, [(1, 0)], NOW) == 1
        tell(sessions, 250, 20)
        return 270
    (keeper.folder / "last-checkpoint-1").rename(keeper.folder / "aside")
    fresh = Sequencer(sessions, keeper, ORIGIN, cosigner)
    fresh.turn(NOW)
    (keeper.folder / "aside").rename(keeper.folder / "last-checkpoint-1")
    with sessions.writing() as session:
        session.add(Log(number=2, origin=f"{ORIGIN}/2", reason="a restore", begun_at=NOW, size=0, frontier=b"", note="", trouble=""))
    tell(sessions, 0, 5)
    return 5


NEVER_CALLED = {
    ("say that another log goes on", "first"),
    ("say that another log goes on", "more"),
    ("take the next key", "first"),
    ("take the next key", "continued"),
    ("keep the list of erasures", "first"),
    ("keep the list of erasures", "continued"),
}
"""Steps that a turn of this phase does not have."""
TELLING = {"commit", "keep the last checkpoint", "the checkpoint", "say that another log goes on"}
"""Steps that are tried in every phase in an ordinary run; the others where most happens in one turn."""


def cases() -> Iterator[Any]:
    for phase, step, persisted in itertools.product(("first", "more", "continued"), STEPS, (False, True)):
        if (step, phase) not in NEVER_CALLED:
            marks = [] if phase == "more" or step in TELLING else [seldom]
            yield pytest.param(step, persisted, phase, marks=marks, id=f"{step}, {'' if persisted else 'not '}persisted, {phase}")


@pytest.mark.slow
@pytest.mark.parametrize(("step", "persisted", "phase"), list(cases()))
def test_a_step_that_fails_loses_doubles_and_forks_nothing(
    step: str, persisted: bool, phase: str, sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    cosigner = Cosigner()
    events = prepared(sessions, keeper, cosigner, phase)
    owner, name = STEPS[step]
    owner = owner or sessions.engine.dialect
    crashes = 0
    for at in itertools.count():
        with crashing(monkeypatch, owner, name, at=at, persisted=persisted) as calls:
            try:
                Sequencer(sessions, Keeper(keeper.folder), ORIGIN, cosigner).turn(NOW)
            except Crash:
                crashes += 1
        if len(calls) <= at or at > 6:
            break
    assert crashes
    last = Sequencer(sessions, Keeper(keeper.folder), ORIGIN, cosigner)
    last.turn(NOW)
    last.turn(NOW)
    with sessions.reading() as session:
        log = newest(session)
    assert log is not None
    whole(sessions, keeper, log.number, events, cosigner)
    if phase == "more":
        assert keeper.next_key() is None
        assert keeper.erased() == {(1, 0)}
        with sessions.reading() as session:
            kinds = [read_entry(body)["kind"] for body in session.scalars(sa.select(LogEntry.body).order_by(LogEntry.index))]
            assert session.scalar(sa.select(sa.func.count()).select_from(Erasure)) == 1
        assert kinds.count("log.key_rotated.v1") == 1


@pytest.mark.slow
def test_one_crash_after_the_other(sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """One crash after the other, at every step in turn, while events go on coming: as a machine with a bad day."""
    cosigner, told, crashes = Cosigner(), 0, 0
    for (owner, name), persisted in itertools.product(STEPS.values(), (False, True)):
        tell(sessions, told, 7)
        told += 7
        with crashing(monkeypatch, owner or sessions.engine.dialect, name, at=0, persisted=persisted):
            try:
                Sequencer(sessions, Keeper(keeper.folder), ORIGIN, cosigner).turn(NOW)
            except Crash:
                crashes += 1
    assert crashes >= len(STEPS), "most steps are taken in these turns, and each fails twice"
    Sequencer(sessions, Keeper(keeper.folder), ORIGIN, cosigner).turn(NOW + timedelta(seconds=1))
    whole(sessions, keeper, 1, told, cosigner)


@pytest.mark.slow
@pytest.mark.parametrize("step", [step for step in STEPS if (step, "more") not in NEVER_CALLED])
def test_a_process_that_lives_on_after_an_error_makes_good_by_itself(
    step: str, sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full, or the database's answer was lost: what this very process remembers is not taken for what was done."""
    cosigner, told, erased = Cosigner(), 240, 0
    tell(sessions, 0, told)
    living = Sequencer(sessions, keeper, ORIGIN, cosigner)
    living.turn(NOW)
    owner, name = STEPS[step]
    for persisted in (False, True):
        for at in range(9):
            tell(sessions, told, 3)
            told += 3
            keeper.make_next_key()
            with sessions.writing() as session:
                index = session.scalars(sa.select(PrivatePart.index).where(PrivatePart.kind.startswith("log.")).limit(1)).one()
                erased += erase_private(session, [(1, index)], NOW)
            with crashing(monkeypatch, owner or sessions.engine.dialect, name, at=at, persisted=persisted, error=OSError) as calls:
                try:
                    living.turn(NOW)
                except OSError:
                    pass
                else:
                    assert len(calls) <= at
            living.turn(NOW)
            whole(sessions, keeper, 1, told, cosigner)
            assert (keeper.next_key(), len(keeper.erased())) == (None, erased)
            if len(calls) <= at:
                break
