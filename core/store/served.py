"""Certificates as one account has seen them served since its watches began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import CHUNK
from core.store.observations import Certificate, Current, Observation
from core.store.watches import NO_END, Watch

_SHORTEST_DIGITS = 4
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate in a list, and how many of the account's endpoints and addresses serve it now. None: could not be read."""

    sha256: str
    subject: str | None
    issuer: str | None
    key: str | None
    not_before: datetime | None
    not_after: datetime | None
    endpoints: int
    addresses: int
    name: str
    """The name of one of the endpoints."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An address that served a certificate. `last_seen_at` is None where it serves another by now, or nothing."""

    watch_ref: str
    name: str
    port: int
    endpoint_id: int
    address: str
    perspective: str
    since_at: datetime
    last_seen_at: datetime | None
    gone: bool
    chain: tuple[str, ...]

    @property
    def now(self) -> bool:
        """Whether it is served there still."""
        return self.last_seen_at is not None and not self.gone


@dataclass(frozen=True, slots=True)
class Other:
    """A certificate that an address served before or after another. `seen_at` is when it was seen first."""

    sha256: str
    subject: str | None
    not_before: datetime | None
    not_after: datetime | None
    seen_at: datetime


def _visible() -> sa.ColumnElement[bool]:
    """Seen by the watch: what changed since it began, and what still held when it began and was looked at again."""
    return sa.or_(Observation.seen_at >= Watch.since_at, Current.last_seen_at >= Watch.since_at)


def served_now(
    session: Session, account_id: int, *, search: str = "", after: tuple[datetime, str] | None = None, most: int
) -> tuple[Served, ...]:
    """Certificates that the account's live watches serve now, by end and digest; unreadable ends last.

    `after` is the last one's end (NO_END where it has none) and digest; `search` is part of a name, subject or issuer, or the
    beginning of a serial or fingerprint however it is grouped.
    """
    leaves = (
        sa.select(
            Observation.leaf_sha256.label("leaf"),
            sa.func.count(Watch.id.distinct()).label("endpoints"),
            sa.func.count(sa.func.coalesce(Current.address, "").distinct()).label("addresses"),
            sa.func.min(Watch.name).label("name"),
        )
        .join(Current, sa.and_(Current.endpoint_id == Watch.endpoint_id, Current.gone_at.is_(None)))
        .join(Observation, Observation.id == Current.observation_id)
        .where(*_live(account_id), Observation.leaf_sha256.is_not(None), Current.last_seen_at >= Watch.since_at)
        .group_by(Observation.leaf_sha256)
        .subquery()
    )
    ends_at = sa.func.coalesce(Certificate.not_after, sa.literal(NO_END, Certificate.not_after.type))
    shown = (Certificate.sha256, Certificate.subject, Certificate.issuer, Certificate.key, Certificate.not_before, Certificate.not_after)
    query = (
        sa.select(*shown, leaves.c.endpoints, leaves.c.addresses, leaves.c.name)
        .join(leaves, leaves.c.leaf == Certificate.sha256)
        .order_by(ends_at, Certificate.sha256)
        .limit(most)
    )
    if search:
        query = query.where(_matches(account_id, search))
    if after is not None:
        query = query.where(sa.tuple_(ends_at, Certificate.sha256) > sa.tuple_(sa.literal(after[0], Certificate.not_after.type), after[1]))
    return tuple(Served(*row) for row in session.execute(query))


def _live(account_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return Watch.account_id == account_id, Watch.deleted_at.is_(None)


def _matches(account_id: int, search: str) -> sa.ColumnElement[bool]:
    names = (
        sa.select(Observation.leaf_sha256)
        .join(Current, Current.observation_id == Observation.id)
        .join(Watch, Watch.endpoint_id == Current.endpoint_id)
        .where(*_live(account_id), Current.gone_at.is_(None), Watch.name.contains(search.lower(), autoescape=True))
    )
    found = [
        Certificate.sha256.in_(names),
        Certificate.subject.icontains(search, autoescape=True),
        Certificate.issuer.icontains(search, autoescape=True),
    ]
    digits = "".join(char for char in search.lower() if char not in " :…")
    if len(digits) >= _SHORTEST_DIGITS and set(digits) <= _HEX:
        found += [Certificate.sha256.startswith(digits), Certificate.serial.startswith(digits.lstrip("0"))]
    return sa.or_(*found)


def sightings(session: Session, account_id: int, digest: str, *, most: int) -> tuple[Sighting, ...]:
    """Where the account's live watches saw this certificate, as a leaf or else in a served chain; () for what they never saw."""
    seen = _sightings(session, account_id, Observation.leaf_sha256 == digest, most)
    return seen or _sightings(session, account_id, sa.cast(Observation.chain, sa.Text).contains(digest, autoescape=True), most)


def _sightings(session: Session, account_id: int, which: sa.ColumnElement[bool], most: int) -> tuple[Sighting, ...]:
    rows = session.execute(
        sa.select(Watch.ref, Watch.name, Watch.port, Watch.since_at, Observation, Current.last_seen_at, Current.gone_at)
        .join(Observation, Observation.endpoint_id == Watch.endpoint_id)
        .outerjoin(Current, Current.observation_id == Observation.id)
        .where(*_live(account_id), which, _visible())
        .order_by(Current.observation_id.is_(None), Current.gone_at.is_not(None), Watch.name, Watch.port, Observation.seen_at.desc())
        .limit(most)
    )
    return tuple(
        Sighting(
            watch_ref=ref,
            name=name,
            port=port,
            endpoint_id=row.endpoint_id,
            address=row.address,
            perspective=row.perspective,
            since_at=max(row.seen_at, since_at),
            last_seen_at=last_seen_at,
            gone=gone_at is not None,
            chain=tuple(row.chain),
        )
        for ref, name, port, since_at, row, last_seen_at, gone_at in rows
    )


def others_there(session: Session, account_id: int, digest: str, places: Sequence[Sighting], *, most: int) -> tuple[Other, ...]:
    """Certificates that the same endpoints and addresses served earlier or later, the `most` newest, newest first."""
    spots = {(place.endpoint_id, place.address) for place in places}
    rows = session.execute(
        sa.select(Observation, Watch.since_at, Certificate.subject, Certificate.not_before, Certificate.not_after)
        .join(Watch, Watch.endpoint_id == Observation.endpoint_id)
        .join(Certificate, Certificate.sha256 == Observation.leaf_sha256)
        .outerjoin(Current, Current.observation_id == Observation.id)
        .where(*_live(account_id), Observation.endpoint_id.in_({endpoint_id for endpoint_id, _ in spots}))
        .where(Observation.leaf_sha256 != digest, _visible())
        .order_by(Observation.seen_at.desc(), Observation.id.desc())
        .limit(most * 10)
    )
    found: dict[str, Other] = {}
    for row, since_at, subject, not_before, not_after in rows:
        leaf = row.leaf_sha256 or ""
        if (row.endpoint_id, row.address) in spots and leaf not in found:
            found[leaf] = Other(leaf, subject, not_before, not_after, max(row.seen_at, since_at))
    return tuple(found.values())[:most]


def names_watched(session: Session, account_id: int, names: Sequence[str]) -> dict[str, str]:
    """Of these names, those that the account watches, with the reference of one of the watches."""
    found: dict[str, str] = {}
    for start in range(0, len(names), CHUNK):
        where = (*_live(account_id), Watch.name.in_(names[start : start + CHUNK]))
        rows = session.execute(sa.select(Watch.name, Watch.ref).where(*where).order_by(Watch.port.desc()))
        found |= {row.name: row.ref for row in rows}
    return found
