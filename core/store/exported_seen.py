"""What an account's watches saw, as it goes into an export: watch by watch, so that nothing has to be sorted that an index has in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.base import Utc
from core.store.db import CHUNK
from core.store.exported import Reach, by_key, still_watched
from core.store.imports import ImportedObservation
from core.store.observations import Current, Observation
from core.store.raw import fetched, instant_text, json_text, ordered, plain, streamed
from core.store.watches import Key, Watch

_AT_ONCE: Final = 5_000
"""So many observations are held at once; a watch that has more by itself is read as it comes."""
_FIRST: Final = 16
"""So many watches are asked about together, before anything is known of how much each has seen."""


class Watched(NamedTuple):
    """A watch, and when it began, as text."""

    name: str
    port: int
    starttls: str
    fixed: str
    since: str
    endpoint_id: int

    @property
    def key(self) -> Key:
        """What it watches."""
        return self[:4]


Told = TypeVar("Told")
Tell = Callable[[Watched, Iterable[Any]], Iterable[Told]]


def observations_of(session: Session, reach: Reach, tell: Tell[Told]) -> Iterator[tuple[Watched, Iterable[Told]]]:
    """Each watch of the account, by what it watches, with what `tell` makes of what its endpoint served.

    Rows come sorted, and are told as they come; what was made of some thousand is held, until the watches are in their order.

    A row: endpoint; perspective, address, seen_at, content; key_asked; failure (3), TLS (4), chain, staple, SCTs; and, where it was seen
    before some watch began, until when it held. Instants and chain are text. `tell` leaves out what did not hold when the watch began: it
    is not theirs to know.
    """
    query = _observations(session, reach)
    some_of_it = query.limit(_AT_ONCE + 1)
    watches, waiting, together = _watched(session, reach), list[Watched](), _FIRST
    while waiting := waiting + list(islice(watches, max(0, together - len(waiting)))):
        some = waiting[:together]
        began = [datetime.fromisoformat(each.since) for each in some]
        values = {"endpoints": [each.endpoint_id for each in some], "oldest": min(began), "newest": max(began)}
        if len(some) == 1:
            yield some[0], tell(some[0], streamed(session, query, values))
            waiting, together = waiting[1:], _FIRST
            continue
        by_endpoint = {each.endpoint_id: each for each in some}
        told: dict[int, list[Told]] = {}
        count = 0
        for number, same in groupby(fetched(session, some_of_it, values), itemgetter(0)):
            rows = list(same)
            count += len(rows)
            told[number] = list(tell(by_endpoint[number], rows))
        if count > _AT_ONCE:
            together = max(1, len(some) // 4)
            continue
        yield from ((each, told.get(each.endpoint_id, ())) for each in some)
        waiting, together = waiting[len(some) :], min(CHUNK, max(1, len(some) * _AT_ONCE // (2 * count + 1)))


def _observations(session: Session, reach: Reach) -> sa.Select[*tuple[Any, ...]]:
    """Of some endpoints, whose watches began between `oldest` and `newest`. Without a join, so that it is read as the index has it."""
    o = Observation
    oldest, newest = sa.bindparam("oldest", type_=Utc()), sa.bindparam("newest", type_=Utc())
    held = sa.exists().where(Current.observation_id == o.id, Current.last_seen_at >= oldest)
    until = sa.select(sa.func.max(instant_text(session, Current.last_seen_at))).where(Current.observation_id == o.id)
    where = [o.endpoint_id.in_(sa.bindparam("endpoints", expanding=True)), sa.or_(o.seen_at >= oldest, held)]
    if reach.since is not None:
        where.append(sa.or_(o.seen_at >= reach.since, sa.exists().where(Current.observation_id == o.id, Current.gone_at.is_(None))))
    return (
        sa.select(
            o.endpoint_id, o.perspective, o.address, instant_text(session, o.seen_at), o.content_sha256, o.key_asked, o.failure_kind,
            o.failure_stage, o.failure_message, o.tls_version, o.tls_cipher, o.tls_group, o.tls_alpn, json_text(session, o.chain),
            plain(o.ocsp_staple), plain(o.scts), sa.case((o.seen_at < newest, until.scalar_subquery())),
        )
        .where(*where)
        .order_by(
            o.endpoint_id, ordered(session, o.perspective), ordered(session, o.address), o.seen_at, ordered(session, o.content_sha256),
        )
    )  # fmt: skip


def _watched(session: Session, reach: Reach) -> Iterator[Watched]:
    rows = streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, instant_text(session, Watch.since_at), Watch.endpoint_id)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(*by_key(session), Watch.id),
    )
    return map(Watched._make, rows)


def imported_observations_of(session: Session, reach: Reach) -> Iterator[Any]:
    """What was imported for watches in reach, in that order: the watch's key (4); perspective, address, seen_at, content, the line."""
    i = ImportedObservation
    wanted = sa.true() if reach.since is None else i.seen_at >= reach.since
    return streamed(session,
        sa.select(i.name, i.port, i.starttls, i.fixed, i.perspective, i.address, instant_text(session, i.seen_at), i.content_sha256, i.line)
        .where(i.account_id == reach.account_id, i.deleted_at.is_(None), wanted, still_watched(i, reach))
        .order_by(
            ordered(session, i.name), i.port, ordered(session, i.starttls), ordered(session, i.fixed), ordered(session, i.perspective),
            ordered(session, i.address), i.seen_at, ordered(session, i.content_sha256), ordered(session, i.line),
        ),
    )  # fmt: skip
