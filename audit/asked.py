"""What the log was told, asked of the database: an account's own entries with every value, and for operators those without a tenant's.

A place is the number of a log and an index in it; lists begin with the newest, and go on after a place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from audit.entry import Sealed
from audit.kinds import ROTATED, STARTED
from audit.tables import Log, LogEntry, OutboxEvent, PrivatePart
from core.store.base import Utc
from core.store.db import CHUNK

Place = tuple[int, int]
Matches = Callable[[sa.Cast[str]], sa.ColumnElement[bool]]
_OWN = ("account", "actor", "at")
"""Fields that every entry seals: they are shown as what they are, and not looked through as text."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries of an account. `text` is looked for in values; or one of `kinds_with_text` and `people_with_text` has it.

    `people`: only what these did; `kinds`: only these. Both are None where any will do. `since` and `until`: from then on, and before then.
    """

    kinds: Collection[str] | None = None
    actors: Collection[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str = ""
    kinds_with_text: Collection[str] = field(default_factory=tuple)
    people_with_text: Collection[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Told:
    """One entry and what is known of it. `sealed` is empty where the values are not for who asks, or were erased."""

    log: int
    index: int
    at: datetime | None
    kind: str
    actor: str
    account_ref: str
    body: bytes
    sealed: Sealed

    @property
    def said(self) -> dict[str, Any]:
        """What strangers see."""
        told: dict[str, Any] = json.loads(self.body)
        return dict(told["said"])

    @property
    def values(self) -> dict[str, Any]:
        """All there is: what strangers see, and over it what they do not."""
        return self.said | {name: value for name, (_, value) in self.sealed.items() if name not in _OWN}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the outbox holds: how many, and since when the oldest one does."""

    count: int
    oldest: datetime | None


def told_to(session: Session, account_ref: str, wanted: Wanted, *, after: Place | None = None, most: int) -> tuple[Told, ...]:
    """An account's entries, newest first, with every value."""
    same = sa.and_(LogEntry.log == PrivatePart.log, LogEntry.index == PrivatePart.index)
    chosen = sa.select(LogEntry, PrivatePart).join_from(PrivatePart, LogEntry, same)
    chosen = chosen.where(PrivatePart.account_ref == account_ref, *_wanted(session, wanted))
    if after is not None:
        chosen = chosen.where(sa.tuple_(PrivatePart.log, PrivatePart.index) < _literally(after))
    rows = session.execute(chosen.order_by(PrivatePart.log.desc(), PrivatePart.index.desc()).limit(most))
    return tuple(
        Told(entry.log, entry.index, part.at, part.kind, part.actor, part.account_ref, entry.body, part.sealed) for entry, part in rows
    )


def told_at(session: Session, places: Collection[Place]) -> tuple[Told, ...]:
    """The entries at these places that were not erased, in the log's order, with every value: for a few, as what is public of them."""
    listed = sorted(places)
    same = sa.and_(LogEntry.log == PrivatePart.log, LogEntry.index == PrivatePart.index)
    found: list[Told] = []
    for log in sorted({number for number, _ in listed}):
        indexes = [index for number, index in listed if number == log]
        for begin in range(0, len(indexes), CHUNK):
            some = PrivatePart.index.in_(indexes[begin : begin + CHUNK])
            chosen = sa.select(LogEntry, PrivatePart).join_from(PrivatePart, LogEntry, same).where(PrivatePart.log == log, some)
            found += [
                Told(entry.log, entry.index, part.at, part.kind, part.actor, part.account_ref, entry.body, part.sealed)
                for entry, part in session.execute(chosen.order_by(PrivatePart.index))
            ]
    return tuple(found)


def not_sealed_yet(session: Session, account_ref: str, *, most: int) -> tuple[OutboxEvent, ...]:
    """What happened in an account and is not in the log yet, newest first."""
    chosen = sa.select(OutboxEvent).where(OutboxEvent.account_ref == account_ref)
    return tuple(session.scalars(chosen.order_by(OutboxEvent.id.desc()).limit(most)))


def told_of_all(
    session: Session, *, kind: str, account_ref: str, actor: str, after: Place | None, most: int
) -> tuple[Told, ...]:  # fmt: skip
    """Entries of the installation, newest first; values of those alone that are in no account. "" for any."""
    chosen = sa.select(LogEntry, PrivatePart).outerjoin(
        PrivatePart, sa.and_(PrivatePart.log == LogEntry.log, PrivatePart.index == LogEntry.index)
    )
    for column, value in ((PrivatePart.kind, kind), (PrivatePart.account_ref, account_ref), (PrivatePart.actor, actor)):
        if value:
            chosen = chosen.where(column == value)
    if after is not None:
        chosen = chosen.where(sa.tuple_(LogEntry.log, LogEntry.index) < _literally(after))
    rows = session.execute(chosen.order_by(LogEntry.log.desc(), LogEntry.index.desc()).limit(most))
    return tuple(_without_a_tenant_s(entry, part) for entry, part in rows)


def waiting(session: Session) -> Waiting:
    """What the sequencer has not taken yet."""
    count, oldest = sa.func.count(), sa.type_coerce(sa.func.min(OutboxEvent.at), Utc())
    found = session.execute(sa.select(count, oldest).select_from(OutboxEvent)).one()
    return Waiting(found[0], found[1])


def newest_log(session: Session) -> Log | None:
    """The log that goes on; None before the first."""
    return session.scalars(sa.select(Log).order_by(Log.number.desc()).limit(1)).first()


def keys_of(session: Session, log: int) -> list[str]:
    """Every key that a log ever signed with, the first first, as its own entries name them."""
    chosen = sa.select(LogEntry.body).join(PrivatePart, sa.and_(PrivatePart.log == LogEntry.log, PrivatePart.index == LogEntry.index))
    chosen = chosen.where(LogEntry.log == log, PrivatePart.account_ref == "", PrivatePart.kind.in_((STARTED, ROTATED)))
    said = [json.loads(body)["said"] for body in session.scalars(chosen.order_by(LogEntry.index))]
    return [str(each.get("vkey") or each.get("new")) for each in said]


def _literally(place: Place) -> sa.Tuple:
    return sa.tuple_(sa.literal(place[0]), sa.literal(place[1]))


def _wanted(session: Session, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = []
    if wanted.kinds is not None:
        where.append(PrivatePart.kind.in_(wanted.kinds))
    if wanted.actors is not None:
        where.append(PrivatePart.actor.in_(wanted.actors))
    if wanted.since is not None:
        where.append(PrivatePart.at >= wanted.since)
    if wanted.until is not None:
        where.append(PrivatePart.at < wanted.until)
    if wanted.text:
        people = [f"user:{ref}" for ref in wanted.people_with_text]
        where.append(
            sa.or_(
                PrivatePart.kind.in_(wanted.kinds_with_text),
                PrivatePart.actor.in_(people),
                _value(session, lambda value: value.icontains(wanted.text, autoescape=True)),
                _value(session, lambda value: value.in_(wanted.people_with_text)),
            )
        )
    return where


def _value(session: Session, matches: Matches) -> sa.ColumnElement[bool]:
    """Whether a value does that an entry seals, which stands beside its salt, or one that it shows."""
    if session.get_bind().dialect.name == "postgresql":
        sealed = sa.func.jsonb_each(PrivatePart.sealed).table_valued("key", "value")
        value = sa.func.jsonb_extract_path_text(sealed.c.value, "1")
        body = sa.cast(sa.func.convert_from(LogEntry.body, "UTF8"), JSONB)
        shown = sa.func.jsonb_each_text(sa.func.jsonb_extract_path(body, "said")).table_valued("key", "value")
    else:
        sealed = sa.func.json_each(PrivatePart.sealed).table_valued("key", "value")
        value = sa.func.json_extract(sealed.c.value, "$[1]")
        shown = sa.func.json_each(sa.cast(LogEntry.body, sa.Text), "$.said").table_valued("key", "value")
    hidden = sa.select(sa.literal(1)).select_from(sealed).where(sealed.c.key.not_in(_OWN), matches(sa.cast(value, sa.Text)))
    public = sa.select(sa.literal(1)).select_from(shown).where(matches(sa.cast(shown.c.value, sa.Text)))
    return sa.or_(sa.exists(hidden), sa.exists(public))


def _without_a_tenant_s(entry: LogEntry, part: PrivatePart | None) -> Told:
    """What an operator sees of an entry: of an account's never a value that strangers do not see (threats.md, H10)."""
    if part is None:
        return Told(entry.log, entry.index, None, "", "", "", entry.body, {})
    sealed = part.sealed if part.account_ref == "" else {}
    return Told(entry.log, entry.index, part.at, part.kind, part.actor, part.account_ref, entry.body, sealed)
