"""Certificates as one account has seen them served since its watches began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import CHUNK
from core.store.leaves import ServedLeaf, served_by
from core.store.observations import Certificate, Current, Observation
from core.store.served_sought import matching
from core.store.watches import Watch

_PASSED_OVER: Final = 400  # looked at together once some rows of a page are no longer so
MOST_COUNTED: Final = 100
"""Places of a certificate in a list that are counted; one more says that there are others."""


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate in a list, and how many of the account's endpoints and addresses serve it now. None: could not be read.

    Neither is counted beyond the first MOST_COUNTED + 1 places.
    """

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
    """An address that served a certificate. `last_seen_at` is None where it serves another by now, or nothing.

    `how` as `Listed.how`; `key_asked` is the only kind of key that was offered when it came, "" where all were.
    """

    watch_ref: str
    name: str
    port: int
    how: str
    endpoint_id: int
    address: str
    key_asked: str
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
    matches, few = matching(session, account_id, search) if search else (sa.true(), False)
    own = (ServedLeaf.account_id + 0 if few else ServedLeaf.account_id) == account_id  # a sum is in no index: few are taken out and sorted
    listed = sa.select(ServedLeaf.ends_at, ServedLeaf.leaf_sha256).where(own, matches)
    listed = listed.order_by(ServedLeaf.ends_at, ServedLeaf.leaf_sha256)
    key, types = sa.tuple_(ServedLeaf.ends_at, ServedLeaf.leaf_sha256), ServedLeaf.ends_at.type
    found: list[Served] = []
    size = most
    while len(found) < most:  # a row says where to look: what is not seen there is passed over
        batch = session.execute(
            (listed if after is None else listed.where(key > sa.tuple_(sa.literal(after[0], types), after[1]))).limit(size)
        )
        places: list[tuple[datetime, str]] = [(ends_at, digest) for ends_at, digest in batch]
        rows = {row[0]: row for row in session.execute(_shown(account_id, [digest for _, digest in places]))}
        found += [_served(rows[digest]) for _, digest in places if digest in rows and rows[digest][-1] is not None]
        if len(places) < size:
            break
        after, size = (places[-1][0], places[-1][1]), _PASSED_OVER
    return tuple(found[:most])


def _shown(account_id: int, digests: Sequence[str]) -> sa.Select[Any]:
    """Certificates, each with its places in one text, "endpoints addresses name": one look at them instead of three."""
    places = (
        served_by(sa.literal(account_id), Certificate.sha256)
        .where(Current.last_seen_at >= Watch.since_at)
        .with_only_columns(Watch.id.label("id"), Current.address.label("address"), Watch.name.label("name"))
        .limit(MOST_COUNTED + 1)
        .correlate(Certificate)
        .subquery()
    )
    counted = [sa.cast(sa.func.count(column.distinct()), sa.Text) for column in (places.c.id, places.c.address)]
    told = sa.select(counted[0] + " " + counted[1] + " " + sa.func.min(places.c.name)).scalar_subquery()
    shown = (Certificate.sha256, Certificate.subject, Certificate.issuer, Certificate.key, Certificate.not_before, Certificate.not_after)
    return sa.select(*shown, told).where(Certificate.sha256.in_(digests))


def _served(row: Any) -> Served:
    sha256, subject, issuer, key, not_before, not_after, places = row
    endpoints, addresses, name = places.split(" ", 2)
    return Served(sha256, subject, issuer, key, not_before, not_after, int(endpoints), int(addresses), name)


def _live(account_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return Watch.account_id == account_id, Watch.deleted_at.is_(None)


def sightings(session: Session, account_id: int, digest: str, *, most: int) -> tuple[Sighting, ...]:
    """Where the account's live watches saw this certificate, as a leaf or else in a served chain; () for what they never saw."""
    seen = _sightings(session, account_id, Observation.leaf_sha256 == digest, most)
    return seen or _sightings(session, account_id, sa.cast(Observation.chain, sa.Text).contains(digest, autoescape=True), most)


def _sightings(session: Session, account_id: int, which: sa.ColumnElement[bool], most: int) -> tuple[Sighting, ...]:
    rows = session.execute(
        sa.select(Watch.ref, Watch.name, Watch.port, Watch.how, Watch.since_at, Observation, Current.last_seen_at, Current.gone_at)
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
            how=how,
            endpoint_id=row.endpoint_id,
            address=row.address,
            key_asked=row.key_asked,
            perspective=row.perspective,
            since_at=max(row.seen_at, since_at),
            last_seen_at=last_seen_at,
            gone=gone_at is not None,
            chain=tuple(row.chain),
        )
        for ref, name, port, how, since_at, row, last_seen_at, gone_at in rows
    )


def others_there(session: Session, account_id: int, digest: str, places: Sequence[Sighting], *, most: int) -> tuple[Other, ...]:
    """Certificates that the same endpoints and addresses served earlier or later, the `most` newest, newest first.

    The other one of a pair stands beside it, neither before nor after, and is left out.
    """
    spots = {(place.endpoint_id, place.address, place.key_asked) for place in places}
    rows = session.execute(
        sa.select(Observation, Watch.since_at, Certificate.subject, Certificate.not_before, Certificate.not_after)
        .join(Watch, Watch.endpoint_id == Observation.endpoint_id)
        .join(Certificate, Certificate.sha256 == Observation.leaf_sha256)
        .outerjoin(Current, Current.observation_id == Observation.id)
        .where(*_live(account_id), Observation.endpoint_id.in_({endpoint_id for endpoint_id, *_ in spots}))
        .where(Observation.leaf_sha256 != digest, _visible())
        .order_by(Observation.seen_at.desc(), Observation.id.desc())
        .limit(most * 10)
    )
    found: dict[str, Other] = {}
    for row, since_at, subject, not_before, not_after in rows:
        leaf = row.leaf_sha256 or ""
        if (row.endpoint_id, row.address, row.key_asked) in spots and leaf not in found:
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
