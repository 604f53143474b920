"""Read models for the list of watched names and for the bin: frozen rows, keyset pages, counts that were kept on write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.perspective import LOCAL
from core.store.accounts import User
from core.store.base import IN_BIN_FOR, Utc
from core.store.cards import bears, held_by
from core.store.endpoints import Schedule
from core.store.sought import as_sought, begins, contains, narrowed
from core.store.watches import NO_END, STATES, Watch, WatchTally

PAGE: Final = 50
SORTS: Final = ("worst", "ends", "name")
MOST_TEXT: Final = 253
_SCHEME: Final = re.compile(r"^[a-z][a-z0-9+.\-]*://")
_URL_REST: Final = re.compile(r"[/?#]")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One watch in a list. `ends_at` is None where no end is known; `checking`: a scan was asked for and is not back yet.

    `domain_id` is for further questions and never shown.
    """

    ref: str
    name: str
    port: int
    how: str
    state: str
    sentence: str
    ends_at: datetime | None
    checking: bool
    checked_at: datetime | None
    domain_id: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the list. `text`: part of a name, as people or machines write it; `state`: one of STATES, or "" for all.

    `tag`: what its domain bears; `who`: who is responsible, as `cards.held_by` knows it, `reader_id` being who asks.
    `after` and `before` are cursors out of a `Listing`; what is not one of ours counts as the first page.
    """

    text: str = ""
    state: str = ""
    sort: str = "worst"
    after: str = ""
    before: str = ""
    tag: str = ""
    who: str = ""
    reader_id: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of rows, with cursors to the pages beside it ("" where there is none)."""

    rows: tuple[Row, ...]
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Binned:
    """One removed watch. `by` is the e-mail address of who removed it, "" when they are gone; `until`: it can be restored till then."""

    ref: str
    name: str
    port: int
    how: str
    removed_at: datetime
    by: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Bin:
    """One page of the bin, newest first."""

    rows: tuple[Binned, ...]
    next: str


def counts(session: Session, account_id: int) -> dict[str, int]:
    """How many live watches there are by state, worst first, zeros included. No row of the list is touched."""
    kept = dict(session.execute(sa.select(WatchTally.state, WatchTally.watches).where(WatchTally.account_id == account_id)).all())
    return {state: kept.get(state, 0) for state in STATES}


def listing(session: Session, account_id: int, wanted: Wanted, size: int = PAGE) -> Listing:
    """A page of an account's live watches."""
    sort = wanted.sort if wanted.sort in SORTS else "worst"
    if wanted.state in STATES and sort == "ends":
        sort = "worst"  # the same, within one state
    where = _matching(session, account_id, wanted)
    backwards = bool(wanted.before and not wanted.after)
    edge = _edge(session, account_id, sort, wanted.before if backwards else wanted.after)
    if edge is None:
        backwards = False
    else:
        key = sa.tuple_(*_columns(sort))
        where.append(key < edge if backwards else key > edge)
    order = [column.desc() if backwards else column.asc() for column in _columns(sort)]
    found = [_row(row) for row in session.execute(_rows().where(*where).order_by(*order).limit(size + 1))]
    rows, more = found[:size], len(found) > size
    if backwards:
        rows.reverse()
    return Listing(
        rows=tuple(rows),
        previous=_cursor(rows[0], sort) if rows and (more if backwards else edge is not None) else "",
        next=_cursor(rows[-1], sort) if rows and (more or backwards) else "",
    )


def all_matching(session: Session, account_id: int, wanted: Wanted, most: int) -> list[str]:
    """References of the live watches that match, on whichever page, in no promised order; at most so many."""
    return list(session.scalars(sa.select(Watch.ref).where(*_matching(session, account_id, wanted)).limit(most)))


def _matching(session: Session, account_id: int, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = [Watch.deleted_at.is_(None)]
    if wanted.state in STATES:
        where.append(Watch.rank == STATES.index(wanted.state))  # by which the indexes go
    if wanted.tag:
        where.append(bears(Watch.domain_id, account_id, wanted.tag))
    if wanted.who:
        where.append(held_by(Watch.domain_id, account_id, wanted.who, wanted.reader_id))
    named, few = _named(session, wanted.text) if wanted.text else ([], False)
    return [*where, *named, (Watch.account_id + 0 if few else Watch.account_id) == account_id]  # a sum is in no index


def is_cursor(session: Session, account_id: int, sort: str, text: str) -> bool:
    """Whether a text is a cursor of this sort and account."""
    return _edge(session, account_id, sort, text) is not None


def rows_by_ref(session: Session, account_id: int, refs: Sequence[str]) -> tuple[Row, ...]:
    """These live watches of an account, in no promised order. At most one page of them; strangers' are left out."""
    where = (Watch.account_id == account_id, Watch.deleted_at.is_(None), Watch.ref.in_(list(refs)[:PAGE]))
    return tuple(_row(row) for row in session.execute(_rows().where(*where)))


def binned(session: Session, account_id: int, now: datetime, after: str = "", size: int = PAGE) -> Bin:
    """What an account can still restore, newest first."""
    where: list[sa.ColumnElement[bool]] = [Watch.account_id == account_id, Watch.deleted_at > now - IN_BIN_FOR]
    moment, _, ref = after.partition("~")
    if moment.isdecimal() and (at := _moment(moment)) is not None:
        own = sa.select(Watch.id).where(Watch.account_id == account_id, Watch.ref == ref).scalar_subquery()
        where.append(sa.tuple_(Watch.deleted_at, Watch.id) < sa.tuple_(sa.literal(at, Utc()), own))
    found = session.execute(
        sa.select(Watch.ref, Watch.name, Watch.port, Watch.how, Watch.deleted_at, User.email)
        .outerjoin(User, sa.and_(User.id == Watch.deleted_by, User.deleted_at.is_(None)))
        .where(*where)
        .order_by(Watch.deleted_at.desc(), Watch.id.desc())
        .limit(size + 1)
    )
    rows = [Binned(ref, name, port, how, at, email or "", at + IN_BIN_FOR) for ref, name, port, how, at, email in found if at is not None]
    more = len(rows) > size
    return Bin(tuple(rows[:size]), f"{_micros(rows[size - 1].removed_at)}~{rows[size - 1].ref}" if more else "")


def _rows() -> sa.Select[Any]:
    checking = sa.and_(
        Schedule.requested_at.is_not(None), sa.or_(Schedule.last_scanned_at.is_(None), Schedule.last_scanned_at < Schedule.requested_at)
    )
    return sa.select(
        Watch.ref,
        Watch.name,
        Watch.port,
        Watch.how,
        Watch.state,
        Watch.sentence,
        Watch.ends_at,
        sa.func.coalesce(checking, sa.false()),
        sa.case((Schedule.last_scanned_at >= Watch.since_at, Schedule.last_scanned_at)),
        Watch.domain_id,
    ).outerjoin(Schedule, sa.and_(Schedule.endpoint_id == Watch.endpoint_id, Schedule.perspective == LOCAL))


def _row(found: Any) -> Row:
    ref, name, port, how, state, sentence, ends_at, checking, checked_at, domain_id = found
    end = ends_at if ends_at < NO_END else None
    return Row(ref, name, port, how, state, sentence, end, bool(checking) or state == "live", checked_at, domain_id)


def _columns(sort: str) -> tuple[Any, ...]:
    """What a sort goes by, the row's number last, as the indexes of `watches` do."""
    if sort == "name":
        return (Watch.name, Watch.id)
    return (Watch.ends_at, Watch.id) if sort == "ends" else (Watch.rank, Watch.ends_at, Watch.id)


def _cursor(row: Row, sort: str) -> str:
    """The row's place, not the row: it holds when the row itself moves or goes."""
    ends = str(_micros(row.ends_at or NO_END))
    values = [row.name] if sort == "name" else [ends] if sort == "ends" else [str(STATES.index(row.state)), ends]
    return "~".join([*values, row.ref])


def _edge(session: Session, account_id: int, sort: str, cursor: str) -> Any | None:
    """A cursor as the tuple to compare with; None for what is not a cursor of this sort and account."""
    *values, ref = cursor.split("~")
    if len(values) != len(_columns(sort)) - 1:
        return None
    row_id = session.scalar(sa.select(Watch.id).where(Watch.account_id == account_id, Watch.ref == ref))
    if row_id is None:
        return None
    last = sa.literal(row_id)
    if sort == "name":
        return sa.tuple_(sa.literal(values[0]), last)
    at = _moment(values[-1])
    if at is None or (sort == "worst" and values[0] not in {str(rank) for rank in range(len(STATES))}):
        return None
    ends = sa.literal(at, Utc())
    return sa.tuple_(ends, last) if sort == "ends" else sa.tuple_(sa.literal(int(values[0])), ends, last)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(micros: str) -> datetime | None:
    if not (micros.isascii() and micros.isdecimal()) or len(micros) > 18:  # noqa: PLR2004 - past the year 9999
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(micros))
    except OverflowError:
        return None


def _named(session: Session, text: str) -> tuple[list[sa.ColumnElement[bool]], bool]:
    """Names that hold this text as machines write them (A-label) or as people read them (U-label), at the port that it names.

    And whether they are few: then the list's indexes would only be in the way.
    """
    wanted, port = _asked_for(text)
    where = [contains(Watch.sought, as_sought(wanted))]
    if port is not None:
        where.append(Watch.port == port)
    few = narrowed(session, "watches", as_sought(wanted))
    return [*where, *([] if few is None else [Watch.id.in_(few)])], few is not None


def means_beginning(text: str) -> bool:
    """Whether a text is so short that it means the beginning of a label."""
    return bool(text) and begins(_asked_for(text)[0])


def _asked_for(text: str) -> tuple[str, int | None]:
    """Part of a name, and a port, of "part", "part:port" or a whole URL."""
    whole = text.strip().lower()[:MOST_TEXT]
    place = _URL_REST.split(_SCHEME.sub("", whole), maxsplit=1)[0]
    name, colon, digits = place.partition(":")
    if not colon or not digits:
        return name or whole, None
    return (name, int(digits)) if _PORT.fullmatch(digits) else (place, None)
