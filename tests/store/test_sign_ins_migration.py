"""Sign-ins from before they had references get one each, and go on."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.store import schema
from core.store.db import Sessions

OLD = """
INSERT INTO login_sessions (token_sha256, user_id, created_at, last_seen_at, expires_at)
VALUES (:token, 1, '2026-11-01 00:00:00', '2026-11-01 00:00:00', '2026-11-30 00:00:00')
"""
PERSON = """
INSERT INTO users (id, ref, email, password_hash, installation_role, created_at)
VALUES (1, 'aaaaaaaaaaaaaaaa', 'mira@example.org', '', '', '2026-11-01 00:00:00')
"""


@pytest.mark.slow
def test_each_gets_a_reference_of_its_own(empty: Sessions) -> None:
    schema.upgrade(empty.engine, "0007")
    with empty.engine.begin() as connection:
        connection.execute(sa.text(PERSON))
        connection.execute(sa.text(OLD), [{"token": "a" * 64}, {"token": "b" * 64}])
    schema.upgrade(empty.engine)
    with empty.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT token_sha256, ref, browser, network FROM login_sessions ORDER BY id")).all()
    assert [(row.token_sha256[0], row.browser, row.network) for row in rows] == [("a", "", ""), ("b", "", "")]
    assert len({row.ref for row in rows}) == 2
    assert all(len(row.ref) == 16 for row in rows)
