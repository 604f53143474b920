"""Rows by the million: past the ORM's own loading, in the order of code points, with instants and JSON as text that nobody has to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import postgresql

_STREAM: Final = {"yield_per": 2_000}


def streamed(session: Session, query: sa.Select[*tuple[Any, ...]], values: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """Rows of columns, some thousand at a time; a server keeps the rest."""
    return chain.from_iterable(session.connection().execute(query, values or {}, execution_options=_STREAM).partitions())


def fetched(session: Session, query: sa.Select[*tuple[Any, ...]], values: Mapping[str, Any]) -> Iterator[Any]:
    """Rows as the driver gives them: a third faster, for a question that says itself how many may come, since PostgreSQL sends all."""
    with session.connection().execute(query, values) as result:
        cursor: Any = result.cursor
        yield from cursor


def plain(column: Any) -> Any:
    """The column as the driver gives it: nothing looks at it again."""
    return sa.type_coerce(column, sa.types.NullType())


def ordered(session: Session, column: Any) -> Any:
    """The column as it is sorted by code points: PostgreSQL's own order is a language's."""
    return sa.collate(column, "C") if postgresql(session) else column


def instant_text(session: Session, column: Any) -> Any:
    """`2026-11-29T06:05:57.000000Z`, spelled by the database: a million of them take Python longer than all the rest."""
    if postgresql(session):  # whose connections are in UTC (core.store.db)
        return sa.func.to_char(column, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""))
    text = sa.type_coerce(column, sa.Text)
    return sa.func.substr(text, 1, 10) + "T" + sa.func.substr(text, 12, 15) + "Z"


def json_text(session: Session, column: Any) -> Any:
    """JSON as it is spelled there."""
    return sa.cast(column, sa.Text) if postgresql(session) else sa.type_coerce(column, sa.Text)
