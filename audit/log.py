"""The one way into the log: `append`, in the caller's transaction. Act and event, both or neither."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import Value
from audit.kinds import OWN
from audit.tables import OutboxEvent

_INSERT = sa.insert(OutboxEvent.metadata.tables[OutboxEvent.__tablename__])
_KIND = re.compile(r"[a-z_]+(\.[a-z_]+)+\.v[1-9]\d*")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. `kind` is `noun.past_tense.vN`, a promise that is never renamed or reused; docs/events.md lists them all.

    `public` must tell strangers nothing about a person or a name; `private` may, and is kept apart.
    """

    kind: str
    at: datetime
    actor: str
    account_ref: str = ""
    public: Mapping[str, Value] = field(default_factory=dict)
    private: Mapping[str, Value] = field(default_factory=dict)


def append(session: Session, event: Event) -> None:
    """Put the event into the outbox of this transaction. Raises ValueError for a kind that is none, or that only the log itself tells."""
    if not _KIND.fullmatch(event.kind):
        raise ValueError(f"{event.kind!r} is not noun.past_tense.vN")
    if event.kind in OWN:
        raise ValueError(f"{event.kind!r} is told by the log itself, and by nobody else")
    session.flush()
    row = {"at": event.at, "kind": event.kind, "actor": event.actor, "account_ref": event.account_ref}
    session.connection().execute(_INSERT, row | {"public": dict(event.public), "private": dict(event.private)})
