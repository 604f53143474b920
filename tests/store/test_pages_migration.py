"""What was there before names were kept as they are searched, and leaves by end, is found and listed after the migration."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from bench.account import LARGE, seed
from core.store import schema
from core.store.db import Sessions, make_engine
from core.store.listing import Wanted, listing
from core.store.served import served_now
from core.store.sought import INDEXES
from tests.make import NOW
from tests.postgres import Postgres

ACCOUNT = "SELECT m.account_id FROM memberships m JOIN users u ON u.id = m.user_id WHERE u.email = :email"


@pytest.mark.slow
def test_rows_of_before_are_found_and_listed(empty: Sessions) -> None:
    seed(empty, 300, NOW)
    with empty.reading() as session:
        account_id = session.scalars(sa.text(ACCOUNT), {"email": LARGE}).one()
        assert {row.name[:4] for row in listing(session, account_id, Wanted(text="bücher")).rows} == {"xn--"}
        assert listing(session, account_id, Wanted(text="www-")).rows
        leaves = served_now(session, account_id, most=200)
        assert len(leaves) == session.scalar(sa.text("SELECT count(DISTINCT leaf_sha256) FROM observations"))
        assert [leaf.not_after for leaf in leaves] == sorted(leaf.not_after for leaf in leaves if leaf.not_after)
        assert sum(leaf.endpoints for leaf in leaves) == 300
        assert served_now(session, account_id, search="quay issuing", most=9)


@pytest.mark.slow
def test_an_owner_who_may_not_make_the_extension_goes_without_the_index(postgres: Postgres) -> None:
    url = postgres.empty()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO plain")
    engine = make_engine(url.replace("postgres@", "plain@"))
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert schema.revision(engine) == schema.newest_revision()
        indexes = {index["name"] for index in sa.inspect(connection).get_indexes("watches")}
        assert INDEXES["watches"] not in indexes
        assert "ix_watches_state" in indexes
    engine.dispose()
