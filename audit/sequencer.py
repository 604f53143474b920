"""The sequencer: makes entries of events, in order and without gaps, signs checkpoints, and publishes. It alone holds the log's key.

One turn: take the events that are visible in the outbox, in the order of their ids (not that of commits: never "after the last one"); make
entries; extend the tree; sign; store entries, private parts, frontier and checkpoint, and take the events away, in one transaction. Then
keep the checkpoint outside the database, and publish: tiles, cosignatures, the checkpoint last. Killed anywhere, the next turn goes on from
what is stored. Before anything is signed, that is compared with the checkpoint outside (audit/standing.py).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
from sqlalchemy.orm import Session

from audit.counting import counted, hold_counted
from audit.erasing import carry_erasures
from audit.keeper import Keeper
from audit.kinds import HOUR, KINDS, ROTATED, ROTATION, STARTED, UNKNOWN
from audit.making import Clock, New
from audit.note import Checkpoint, Note, Signature, public_of, sign
from audit.publish import drop_narrower, publish_checkpoint, publish_tiles, published, published_note, say_continued, whole
from audit.standing import Standing, split_frontier
from audit.tables import Log, LogEntry, OutboxEvent, PrivatePart
from audit.tiles import TileHashes
from audit.tree import consistency_proof, extended, leaf_hash, root_of
from core.store.db import CHUNK, Sessions

BATCH: Final = 1_024
QUIET_FOR: Final = timedelta(hours=1)
LOG: Final = "log"
_ASK_AGAIN: Final = timedelta(seconds=20)
ProofFrom = Callable[[int], list[bytes]]


class Cosigners(Protocol):
    """Who cosigns checkpoints, how many they are, and how many must before one is published."""

    quorum: int
    many: int

    def cosignatures(self, note: Note, checkpoint: Checkpoint, proof_from: ProofFrom, now: datetime) -> list[Signature]:
        """What witnesses gave."""


@dataclass(slots=True)
class Sequencer:
    """Turns, one after the other, on a folder that this process has claimed. `origin` names the first log; the n-th is `origin/n`."""

    sessions: Sessions
    keeper: Keeper
    origin: str
    witnesses: Cosigners | None = None
    _standing: Standing = field(init=False)
    _looked_whole: set[int] = field(default_factory=set)
    _asked_at: datetime | None = None
    _carried: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self._standing = Standing(self.keeper)

    def turn(self, now: datetime) -> int:
        """One turn; how many entries were made. Raises what database and disk raise: the next turn goes on from what is stored."""
        made = 0
        while batch := self._sequence(now):
            made += batch
            if batch < BATCH:
                break
        with self.sessions.reading() as session:
            log = newest(session)
            ours = log is not None and (self._standing.known(log) or self._standing.begins_alike(session))
        if ours:  # also of a database that was restored: what was erased is not to come back until somebody says why
            self._carried = carry_erasures(self.sessions, self.keeper, now, self._carried)
        if log is None or log.trouble or not log.note or not self._standing.known(log):
            return made
        if self.keeper.last(log.number) != Checkpoint.read(Note.read(log.note.encode()).text):  # before anybody else sees it
            self.keeper.keep_last(log.number, log.note.encode())
        self._publish(log, now)
        return made

    def _sequence(self, now: datetime) -> int:
        """At most a batch of entries, in one transaction."""
        if not self._ready(now):
            return 0
        with self.sessions.writing() as session:
            log = newest(session, locked=True) or _first(self.origin, now)
            session.add(log)
            if not self._standing.known(log):
                return 0  # somebody else was here meanwhile: it is compared anew
            log.trouble, log.trouble_at = "", None
            key, following = self._keys(log)
            made = self._batch(session, log, key, following, now)
            if not made:
                return 0
            self._begin_outside(log, key)
            self._store(session, log, made, following or key, now)
        self._standing.remember(log)
        if following is not None:
            self.keeper.take_next_key()
        return len(made)

    def _ready(self, now: datetime) -> bool:
        """Whether there is something to do and nothing against it. What is against it is written down, and looked at again in a while."""
        with self.sessions.reading() as session:
            log = newest(session) or _first(self.origin, now)
            if self._standing.known(log):
                return bool(log.trouble) or self._due(session, log, now)
            if self._standing.waits(log, now):
                return False
            trouble = self._standing.trouble(session, log, now)
            if not trouble:
                return True
        with self.sessions.writing() as session:
            kept = newest(session, locked=True) or _first(self.origin, now)
            session.add(kept)
            if kept.number == log.number and kept.trouble != trouble:
                kept.trouble, kept.trouble_at = trouble, now
        return False

    def _begin_outside(self, log: Log, key: Key) -> None:
        """Before a log's first entry: outside it is known that there is a log, so that a database without it is told from a new one."""
        if not log.note and self.keeper.last(log.number) is None:
            self.keeper.keep_last(log.number, _signed(Checkpoint(log.origin, 0, root_of([])), key))

    def _due(self, session: Session, log: Log, now: datetime) -> bool:
        waiting = session.scalar(sa.select(OutboxEvent.id).limit(1)) is not None
        quiet = log.logged_at is None or not timedelta() <= now - log.logged_at < QUIET_FOR
        return waiting or quiet or not log.size or self.keeper.next_key() is not None or counted(session, now) is not None

    def _batch(self, session: Session, log: Log, key: Key, following: Key | None, now: datetime) -> list[New]:
        """The entries of a turn, in order: the log's own first where they are due."""
        clock = Clock(log.logged_at, now)
        made = [] if log.size else [self._started(session, log, key, clock)]
        events = session.scalars(sa.select(OutboxEvent).order_by(OutboxEvent.id).limit(BATCH)).all()
        held = {event.id for event in events if KINDS.get(event.kind, UNKNOWN).hourly and hold_counted(session, event)}
        made += [clock.told(event) for event in events if event.id not in held]
        if hour := counted(session, now):
            index = log.size + len(made)
            made.append(clock.entry(hour.kind, now, LOG, "", hour.public, {}))
            hour.note_in(session, log.number, index)
        if following is not None:
            made.append(self._rotated(log, key, following, clock))
        if not made and not events and (log.logged_at is None or now - log.logged_at >= QUIET_FOR):
            made.append(clock.entry(HOUR, now, LOG, "", {}, {}))
        for each in range(0, len(events), CHUNK):
            session.execute(sa.delete(OutboxEvent).where(OutboxEvent.id.in_([event.id for event in events[each : each + CHUNK]])))
        return made

    def _started(self, session: Session, log: Log, key: Key, clock: Clock) -> New:
        said: dict[str, Any] = {"origin": log.origin, "vkey": public_of(key, log.origin).vkey}
        if log.number > 1:
            before = session.get(Log, log.number - 1)
            last = self.keeper.last(log.number - 1) or (before and before.note and Checkpoint.read(Note.read(before.note.encode()).text))
            said |= {"reason": log.reason, "previous_kept": before.size if before else 0}
            if last:
                root = base64.b64encode(last.root).decode()
                said |= {"previous_origin": last.origin, "previous_size": last.size, "previous_root": root}
        return clock.entry(STARTED, clock.now, LOG, "", said, {})

    def _rotated(self, log: Log, key: Key, following: Key, clock: Clock) -> New:
        old, new = public_of(key, log.origin).vkey, public_of(following, log.origin).vkey
        text = ROTATION.format(log.origin, old, new).encode()
        by_old, by_new = (base64.b64encode(each.sign(text)).decode() for each in (key, following))
        said = {"origin": log.origin, "old": old, "new": new, "by_old": by_old, "by_new": by_new}
        return clock.entry(ROTATED, clock.now, LOG, "", said, {})

    def _keys(self, log: Log) -> tuple[Key, Key | None]:
        """The key, and the one that is to follow it, after a rotation that was stored and then cut short is carried through."""
        key, following = self.keeper.key(), self.keeper.next_key()
        if following is None or not log.note:
            return key, following
        if Note.read(log.note.encode()).signed_by([public_of(following, log.origin)]):
            self.keeper.take_next_key()
            return following, None
        return key, following

    def _store(self, session: Session, log: Log, made: Sequence[New], key: Key, now: datetime) -> None:
        first, number = log.size, log.number
        session.execute(sa.insert(LogEntry), [{"log": number, "index": first + at, "body": new.entry.body} for at, new in enumerate(made)])
        session.execute(
            sa.insert(PrivatePart),
            [
                {"log": number, "index": first + at, "at": new.at, "kind": new.kind, "actor": new.actor}
                | {"account_ref": new.account_ref, "sealed": new.entry.sealed}
                for at, new in enumerate(made)
            ],
        )
        frontier = extended(split_frontier(log.frontier), first, (leaf_hash(new.entry.body) for new in made))
        log.size, log.frontier = first + len(made), b"".join(frontier)
        log.note = _signed(Checkpoint(log.origin, log.size, root_of(frontier)), key).decode()
        log.signed_at = log.logged_at = now

    def _publish(self, log: Log, now: datetime) -> None:
        with self.sessions.reading() as session:
            logs = session.scalars(sa.select(Log).where(Log.note != "").order_by(Log.number)).all()
            for each in logs:
                looked = each.number in self._looked_whole
                if each.number == log.number or not looked:
                    self._looked_whole.discard(each.number)  # what fails half-way is looked at whole the next time
                    self._publish_one(session, each, now, looked=looked, asked=self.witnesses if each.number == log.number else None)
                    self._looked_whole.add(each.number)

    def _publish_one(self, session: Session, log: Log, now: datetime, *, looked: bool, asked: Cosigners | None) -> None:
        """The files of one log. Of a log that ended they are looked at once: what the database still has is there."""
        number, seen = log.number, published(self.keeper, log.number)
        begin = min(seen.size, log.size) if seen else 0
        if not looked:
            if whole(self.keeper, number, begin):
                drop_narrower(self.keeper, number, begin)
            else:
                begin = 0
        if seen is not None and (seen.size > log.size or (begin == log.size and not self._asks_again(log, asked, now))):
            return
        publish_tiles(self.keeper, number, log.size, begin, lambda first, end: _bodies(session, number, first, end))
        note = Note.read(log.note.encode())
        given = self._cosigned(log, note, asked, now) if asked else []
        if asked and len(given) < asked.quorum:
            return
        if number > 1:
            say_continued(self.keeper, number)
        publish_checkpoint(self.keeper, number, Note(note.text, (*note.signatures, *given)).raw, log.size, begin)

    def _cosigned(self, log: Log, note: Note, asked: Cosigners, now: datetime) -> list[Signature]:
        """Cosignatures under a checkpoint: those that are published already, and those that are given now."""
        self._asked_at = now
        folder = self.keeper.public_of(log.number)
        hash_of = TileHashes(lambda path: (folder / path).read_bytes(), log.size)
        given = asked.cosignatures(note, Checkpoint.read(note.text), lambda old: consistency_proof(hash_of, old, log.size), now)
        before = published_note(self.keeper, log.number)
        found = {(each.name, each.key_id): each for each in (before.signatures if before and before.text == note.text else ())}
        found |= {(each.name, each.key_id): each for each in given}
        own = {(each.name, each.key_id) for each in note.signatures}
        return [each for name, each in found.items() if name not in own]

    def _asks_again(self, log: Log, asked: Cosigners | None, now: datetime) -> bool:
        """Whether witnesses are asked about what is published already: some of them have not signed it, and it was not asked just now."""
        if asked is None or (self._asked_at is not None and timedelta() <= now - self._asked_at < _ASK_AGAIN):
            return False
        seen = published_note(self.keeper, log.number)
        return seen is not None and len(seen.signatures) < asked.many + 1


def newest(session: Session, *, locked: bool = False) -> Log | None:
    """The log that goes on; None before the first."""
    asked = sa.select(Log).order_by(Log.number.desc()).limit(1)
    return session.scalars(asked.with_for_update() if locked else asked).first()


def _first(origin: str, now: datetime) -> Log:
    return Log(number=1, origin=origin, begun_at=now, reason="", size=0, frontier=b"", note="", trouble="")


def _bodies(session: Session, number: int, first: int, end: int) -> list[bytes]:
    chosen = sa.select(LogEntry.body).where(LogEntry.log == number, LogEntry.index >= first, LogEntry.index < end)
    return list(session.scalars(chosen.order_by(LogEntry.index)))


def _signed(checkpoint: Checkpoint, key: Key) -> bytes:
    return Note(checkpoint.text, (sign(checkpoint.text, checkpoint.origin, key),)).raw
