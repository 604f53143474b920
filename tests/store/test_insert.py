"""Rows written past the ORM: whole or refused, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from core.store.base import new_ref
from core.store.db import Sessions, insert_many, insert_missing
from core.store.endpoints import Domain, Endpoint
from core.store.observations import Certificate
from tests.make import NOW, make_actor


def endpoint(name: str, **other: Any) -> dict[str, Any]:
    """A row of an endpoint; what has a default is left out."""
    return {"name": name, "port": 443, "created_at": NOW, **other}


def test_rows_are_there_with_their_defaults_and_those_that_were_stay(sessions: Sessions) -> None:
    with sessions.writing() as session:
        insert_many(session, Endpoint, [endpoint(f"h{number}.example") for number in range(4_500)])
        insert_many(session, Endpoint, [])
        whole = {"address": "", "scope": ""}
        insert_missing(session, Endpoint, [endpoint("h1.example", starttls="", **whole), endpoint("x.example", starttls="smtp", **whole)])
    with sessions.reading() as session:
        found = session.execute(sa.select(Endpoint.name, Endpoint.starttls, Endpoint.scope, Endpoint.created_at)).all()
    assert len(found) == 4_501
    assert {tuple(row) for row in found} == {(f"h{n}.example", "", "", NOW) for n in range(4_500)} | {("x.example", "smtp", "", NOW)}


def test_lists_bytes_and_what_is_not_there_go_in_as_they_are(sessions: Sessions) -> None:
    rows = [
        {"sha256": f"{number:064x}", "der": bytes((0, 255, number)), "subject": subject, "unreadable": words, "first_seen_at": NOW}
        for number, (subject, words) in enumerate((('quoted "{}", NULL', ["a", "b"]), (None, []), ("", ["{x}", 'y"'])))
    ]
    with sessions.writing() as session:
        insert_missing(session, Certificate, rows)
    with sessions.reading() as session:
        found = session.scalars(sa.select(Certificate).order_by(Certificate.sha256)).all()
    assert [(each.sha256, each.der, each.subject, each.unreadable) for each in found] == [
        (row["sha256"], row["der"], row["subject"], row["unreadable"]) for row in rows
    ]


def test_a_value_that_is_too_long_is_refused_and_never_cut(sessions: Sessions) -> None:
    if sessions.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no lengths")
    with sessions.writing() as session:
        account_id = make_actor(session).account_id
    row = {"account_id": account_id, "ref": new_ref() + "x", "name": "a.example", "created_at": NOW, "created_by": None}
    with pytest.raises(sa.exc.DataError, match="too long"), sessions.writing() as session:
        insert_many(session, Domain, [row])
