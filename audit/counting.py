"""What is counted by the hour: sign-ins, sign-outs, and tries that failed. One entry for an hour tells magnitudes, and commits to each."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import SALT_BYTES, canonical
from audit.kinds import COUNTED, KINDS
from audit.tables import CountedEvent, OutboxEvent
from core.store.db import CHUNK

MOST = 50_000


@dataclass(frozen=True, slots=True)
class Hour:
    """An entry that is due: what it says, and which rows it counts."""

    public: dict[str, Any]
    ids: Sequence[int]
    kind: str = COUNTED

    def note_in(self, session: Session, log: int, index: int) -> None:
        """These are counted by that entry."""
        for at in range(0, len(self.ids), CHUNK):
            chosen = CountedEvent.id.in_(self.ids[at : at + CHUNK])
            session.execute(sa.update(CountedEvent).where(chosen).values(log=log, index=index))


def hold_counted(session: Session, event: OutboxEvent) -> bool:
    """Keep an event until its hour is over, with the salt of its own commitment. False for one that cannot be written down."""
    salt = os.urandom(SALT_BYTES)
    row = CountedEvent(at=event.at, kind=event.kind, actor=event.actor, public=event.public, private=event.private, salt=salt.hex())
    try:
        row.commitment = commitment_of(row)
    except (ValueError, TypeError):
        return False
    session.add(row)
    session.flush()
    return True


def commitment_of(row: CountedEvent) -> str:
    """SHA-256(salt || canonical JSON of what it was), in hex."""
    told = {"at": row.at.astimezone(UTC).isoformat(timespec="milliseconds"), "kind": row.kind, "actor": row.actor}
    return hashlib.sha256(bytes.fromhex(row.salt) + canonical(told | {"public": row.public, "private": row.private})).hexdigest()


def digest_of(commitments: Sequence[str]) -> str:
    """What an hour's entry shows of them, in their order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, commitments))).hexdigest()


def counted(session: Session, now: datetime) -> Hour | None:
    """The entry that is due for what happened before this hour; None where nothing waits."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    waiting = CountedEvent.index.is_(None)
    if session.scalar(sa.select(CountedEvent.id).where(waiting, CountedEvent.at < hour).limit(1)) is None:
        return None
    chosen = sa.select(CountedEvent).where(waiting, CountedEvent.at < hour).order_by(CountedEvent.id).limit(MOST)
    rows = session.scalars(chosen).all()
    how_many = Counter(KINDS[row.kind].hourly for row in rows)
    told: dict[str, Any] = {name: how_many[name] for name in KINDS[COUNTED].counted}
    told |= {
        "hour": min(row.at for row in rows).astimezone(UTC).strftime("%Y-%m-%dT%HZ"),
        "digest": digest_of([row.commitment for row in rows]),
    }
    return Hour(told, [row.id for row in rows])
