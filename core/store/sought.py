"""Finding text inside names and inside certificates' subjects and issuers, without reading all of them.

Kept on write as it is searched: names in `watches.sought`, both as machines write them (A-labels) and as people read them (U-labels),
subject and issuer in `served_leaves.sought`. An index of trigrams lies over each: FTS5 on SQLite (in the tables INDEXES names, kept by
triggers), pg_trgm on PostgreSQL. The index only narrows; LIKE on the kept text is what counts. Where there is no such index, since this
SQLite has none or PostgreSQL's owner may not make the extension, the same is found by reading on.

A text of one or two characters has no trigram of its own. It means the beginning of a label: every label stands behind two dots, so that
"..sh" is long enough.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.net.text import u_label
from core.store.db import postgresql

INDEXES: Final = {"watches": "watch_names", "served_leaves": "leaf_texts"}
SHORT: Final = 3
"""Texts with fewer characters mean the beginning of a label."""
FEW: Final = 2_000
"""With so many finds they are taken out and sorted; with more, one in fifty rows or so fits, and the list is read in its order instead."""


def sought_of(name: str) -> str:
    """A name as it is searched. No text that is typed reaches from the one form into the other: no name holds a line's end."""
    forms = dict.fromkeys((name, u_label(name)))
    return "\n".join(f"..{form.replace('.', '..')}" for form in forms)


def as_sought(text: str) -> str:
    """Part of a name, in lower case, as it stands in `sought_of`."""
    doubled = text.replace(".", "..")
    return f"..{doubled}" if begins(text) else doubled


def begins(text: str) -> bool:
    """Whether a text has no trigram of its own, so that it means the beginning of a label."""
    return 0 < len(text.replace(".", "..")) < SHORT and "." not in text


def contains(column: Any, text: str) -> sa.ColumnElement[bool]:
    """What counts: whether a kept text holds this one."""
    found: sa.ColumnElement[bool] = column.contains(text, autoescape=True)
    return found


def narrowed(session: Session, table: str, text: str) -> sa.Select[Any] | None:
    """On SQLite, the numbers of the rows of this table that hold the text, if they are few. None: they are many, or there is no index.

    Of all accounts: a stranger's finds count as well, and only make the list be read in its order.
    """
    if postgresql(session):
        session.execute(sa.text("SET LOCAL plan_cache_mode = force_custom_plan"))  # a plan for any text is a bad one for a rare text
        return None
    index = INDEXES[table]
    if len(text) < SHORT or session.scalar(sa.text("SELECT 1 FROM sqlite_master WHERE name = :index"), {"index": index}) is None:
        return None
    phrase = '"' + text.replace('"', '""') + '"'
    found: sa.Select[Any] = (
        sa.select(sa.literal_column("rowid")).select_from(sa.table(index)).where(sa.literal_column(index).op("MATCH")(phrase))
    )
    some = session.scalar(sa.select(sa.func.count()).select_from(found.limit(FEW + 1).subquery())) or 0
    return found if some <= FEW else None
