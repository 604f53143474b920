from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.actions.domains import remove_watches
from core.actions.policy import Actor
from core.store.db import Sessions
from core.store.incidents import Notice
from core.store.told import told
from demo.pki import make_chain
from tests.make import NOW, make_actor, make_watches
from tests.scenes import roots_of, scan_all

HOUR = timedelta(hours=1)


def _tell(sessions: Sessions, *names: str, email: str = "mira@example.org") -> Actor:
    with sessions.writing() as session:
        actor = make_actor(session, email)
        make_watches(session, actor, *names)
    chains = {name: make_chain([name], not_after=NOW - HOUR) for name in names}
    scan_all(sessions, {name: {"192.0.2.1": chain.ders} for name, chain in chains.items()}, roots_of(*chains.values()), NOW + HOUR)
    return actor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "waiting"),
        ({"attempts": 2, "last_error": "451"}, "waiting"),
        ({"handed_at": NOW}, "unsure"),
        ({"handed_at": NOW, "sent_at": NOW}, "sent"),
        ({"handed_at": NOW, "sent_at": NOW, "kept": True}, "kept"),
        ({"cancelled_at": NOW}, "cancelled"),
    ],
)
def test_what_became_of_a_message(sessions: Sessions, values: dict[str, Any], state: str) -> None:
    actor = _tell(sessions, "a.example")
    if values:
        with sessions.writing() as session:
            session.execute(sa.update(Notice).values(**values))
    with sessions.reading() as session:
        (line,) = told(session, actor.account_id or 0, most=9)
    assert (line.state, line.email, line.name, line.port) == (state, "mira@example.org", "a.example", 443)


@pytest.mark.slow
def test_an_account_sees_its_own_messages_newest_first_and_page_by_page(sessions: Sessions) -> None:
    mine = _tell(sessions, *(f"n{number}.example" for number in range(5)))
    theirs = _tell(sessions, "theirs.example", email="eve@elsewhere.example")
    with sessions.reading() as session:
        whole = told(session, mine.account_id or 0, most=50)
        assert len(whole) == 5
        assert told(session, mine.account_id or 0, until=whole[0].created_at, skip=2, most=2) == whole[2:4]
        assert {line.name for line in told(session, theirs.account_id or 0, most=50)} == {"theirs.example"}


def test_a_message_about_what_is_in_the_bin_stays_and_leads_nowhere(sessions: Sessions) -> None:
    actor = _tell(sessions, "a.example")
    with sessions.reading() as session:
        (line,) = told(session, actor.account_id or 0, most=9)
    assert line.watch_ref
    with sessions.writing() as session:
        remove_watches(session, actor, refs=[line.watch_ref], now=NOW + 2 * HOUR)
    with sessions.reading() as session:
        (line,) = told(session, actor.account_id or 0, most=9)
    assert (line.name, line.watch_ref) == ("a.example", "")
