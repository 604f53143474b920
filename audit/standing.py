"""Whether a log may go on: what the database holds, compared with what was signed and is kept outside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.keeper import Keeper, KeeperError
from audit.note import Checkpoint, Note, NoteError, public_of
from audit.publish import published
from audit.tables import Log, LogEntry
from audit.tiles import TileError, entry_at
from audit.tree import HASH_BYTES, extended, leaf_hash, root_of

_MANY: Final = 4_096
_LOOK_AGAIN: Final = timedelta(seconds=30)
_SO: Final = (
    "Nothing is signed. What happens meanwhile is kept in the database, and is in the log later. If a backup was restored, "
    "`./keychest log continue --reason ...` begins a log that says so; docs/runbook.md says how."
)


@dataclass(slots=True)
class Standing:
    """Compares once, and again whenever the log is not as this process left it; what was refused, in half a minute."""

    keeper: Keeper
    _left: tuple[int, int, bytes] | None = None
    _refused: tuple[int, int, bytes] | None = None
    _refused_at: datetime | None = None

    def known(self, log: Log) -> bool:
        """Whether the log is as this process left it, and so is its key."""
        return self._left == _shape(log) and not self._strange(log)

    def waits(self, log: Log, now: datetime) -> bool:
        """Whether this very log was refused just now."""
        return self._refused == _shape(log) and self._refused_at is not None and timedelta() <= now - self._refused_at < _LOOK_AGAIN

    def remember(self, log: Log) -> None:
        """What this process leaves, and knows again."""
        self._left, self._refused = _shape(log), None

    def trouble(self, session: Session, log: Log, now: datetime) -> str:
        """Why nothing may be signed; "" where all is well, and the log is known from now on. Raises OSError."""
        self._left = None
        try:
            found = self._compared(session, log)
        except (KeeperError, NoteError) as error:
            found = str(error)
        if found:
            self._refused, self._refused_at = _shape(log), now
            return f"{found} {_SO}"
        self.remember(log)
        return ""

    def begins_alike(self, session: Session) -> bool:
        """Whether published log and database begin with the same entry, which has random bytes in it: they are of one installation."""
        seen = published(self.keeper, 1)
        first = session.scalar(sa.select(LogEntry.body).where(LogEntry.log == 1, LogEntry.index == 0))
        if seen is None or not seen.size or first is None:
            return False
        try:
            return entry_at(lambda path: (self.keeper.public / path).read_bytes(), 0, seen.size) == first
        except (FileNotFoundError, TileError):
            return False

    def _compared(self, session: Session, log: Log) -> str:
        if self.keeper.newest() > log.number:
            return f"Log {self.keeper.newest()} was signed before, and the database knows of log {log.number} at most: it is older."
        outside = self.keeper.last(log.number)
        if not log.note:
            if outside is not None and outside.size:
                return f"The database holds no entry of this log, of which {outside.size:,} were signed: it is older, or another one."
            return ""
        if outside is None:
            return (
                f"The last checkpoint is not in {self.keeper.folder}, where it is kept outside the database: nobody knows what was signed."
            )
        if strange := self._strange(log):
            return strange
        seen = published(self.keeper, log.number)
        return _rebuilt(session, log, [each for each in (outside, seen) if each is not None and each.size])

    def _strange(self, log: Log) -> str:
        """Why what would be signed by the key that lies here is not this log's; "" where it is, or where the log begins."""
        if not log.note:
            return ""
        try:
            keys = [public_of(each, log.origin) for each in (self.keeper.key_there(), self.keeper.next_key()) if each is not None]
            if Note.read(log.note.encode()).signed_by(keys):
                return ""
        except (KeeperError, NoteError) as error:
            return str(error)
        return (
            f"The key that signed this log is not in {self.keeper.folder}: put it back, from the recovery kit or a copy. "
            "Without it the log can only be followed by another one."
        )


def _rebuilt(session: Session, log: Log, signed: list[Checkpoint]) -> str:
    """The tree from scratch, compared with what is stored of it and with every checkpoint that was signed. What is wrong, in a sentence."""
    for each in signed:
        if each.origin != log.origin:
            return f"The last checkpoint is of {each.origin}, and the database's log is {log.origin}."
        if each.size > log.size:
            return f"The database holds {log.size:,} entries of {each.size:,} that were signed: it is older than what was promised."
    own = Checkpoint.read(Note.read(log.note.encode()).text)
    if (own.origin, own.size) != (log.origin, log.size):
        return "The checkpoint in the database is of another log, or of another size."
    return _hashed(session, log, (*signed, own))


def _hashed(session: Session, log: Log, promised: Sequence[Checkpoint]) -> str:
    frontier: list[bytes] = []
    size = 0
    bodies = sa.select(LogEntry.index, LogEntry.body).where(LogEntry.log == log.number).order_by(LogEntry.index)
    with session.execute(bodies.execution_options(yield_per=_MANY)) as rows:
        for index, body in rows:
            if index != size:
                return f"Entry {size} is not in the database."
            frontier = extended(frontier, size, [leaf_hash(body)])
            size += 1
            if any(each.size == size and each.root != root_of(frontier) for each in promised):
                return f"The first {size:,} entries in the database are not those that were signed."
    if size != log.size or frontier != split_frontier(log.frontier):
        return f"The database's {size:,} entries are not those of its own checkpoint, of {log.size:,}."
    return ""


def _shape(log: Log) -> tuple[int, int, bytes]:
    return log.number, log.size, log.frontier


def split_frontier(frontier: bytes) -> list[bytes]:
    """A stored frontier as hashes."""
    return [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)]
