"""The log as those see it who run the installation: how it stands, and never a tenant's values."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from audit.keeper import Keeper
from audit.log import Event, append
from audit.tables import Log
from tests.make import NOW
from tests.portal.conftest import Site
from tests.portal.test_endpoints import assert_only_our_markup
from tests.portal.test_log import HOSTILE, ORIGIN, happen, seal
from tests.portal.test_operations import run_by, text_of


def told_to(client: FlaskClient) -> str:
    """The page's words, each a space apart."""
    return re.sub(r"\s+", " ", text_of(re.sub(r"<[^>]+>", " ", client.get("/operations/log").text.replace("<wbr>", ""))))


@pytest.mark.slow
def test_an_operator_sees_how_the_log_stands_and_no_tenant_s_values(logged: Site, keeper: Keeper) -> None:
    happen(logged, 3, email="canary@example.org")
    with logged.sessions.writing() as session:
        append(session, Event("backup_hold.set.v1", NOW, "user:abc", "", {"hold": "h"}, {"reason": HOSTILE}))
    client = run_by(logged, "stranger")
    assert "Nothing is sealed into the log." in told_to(client)
    seal(logged, keeper)
    happen(logged, 2)
    page = client.get("/operations/log").text
    text = text_of(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", "")))
    owner = logged.actors["owner"]
    assert "canary" not in text
    assert owner.account_ref in text
    assert owner.name in text
    assert "&lt;script&gt;alert(1)" in page
    assert_only_our_markup(page)
    assert re.search(r"Waiting 2 the oldest since 23 Nov 2026", text)
    assert "The sequencer gives no sign of life" in text
    assert "hold : h" in re.sub(r"\s+:", " :", text)

    def entries(**asked: str) -> list[int]:
        return [int(each) for each in re.findall(r'href="/log/entries/1/(\d+)"', client.get("/operations/log", query_string=asked).text)]

    assert entries() == [4, 3, 2, 1, 0]
    assert entries(account=owner.account_ref) == entries(actor=owner.name) == entries(kind="domains.added.v1") == [3, 2, 1]
    assert entries(actor="log") == [0]
    assert entries(after="1.2") == [1, 0]
    assert entries(kind="x") == []
    assert logged.client("owner").get("/operations/log").status_code == 403


def test_operators_are_told_on_every_page_when_the_log_does_not_go_on(logged: Site, keeper: Keeper) -> None:
    seal(logged, keeper)
    client = run_by(logged, "stranger")
    assert "Nothing is sealed into the log" in client.get("/operations/settings").text
    assert "Nothing is sealed" not in logged.client("owner").get("/domains").text
    (keeper.folder / "last-checkpoint-1").unlink()
    seal(logged, keeper)
    logged.app.extensions["keychest.work"].asked_at = float("-inf")  # it looks every few seconds
    page = text_of(client.get("/operations/log").text)
    assert "The log signs nothing" in page
    assert "The last checkpoint is not in" in page
    assert "The log signs nothing" in client.get("/operations/settings").text
    assert "keychest log continue" in page


@pytest.mark.slow
def test_how_much_is_published_is_told_beside_what_the_database_has(logged: Site, keeper: Keeper) -> None:
    happen(logged, 4)
    seal(logged, keeper)
    run = run_by(logged, "stranger")
    assert "Published 5 all of them" in told_to(run)
    with logged.sessions.writing() as session:
        log = session.get_one(Log, 1)
        log.size = 3
    assert "Published 5 2 more than the database has" in told_to(run)
    with logged.sessions.writing() as session:
        log = session.get_one(Log, 1)
        log.size = 7
    assert "Published 5 2 wait for witnesses, or the disk" in told_to(run)
    with logged.sessions.writing() as session:
        session.add(Log(number=2, origin=f"{ORIGIN}/2", begun_at=NOW, reason="a restore", size=1, frontier=b"", note="", trouble=""))
    assert "Published 5 of log 1; nothing of log 2 yet" in told_to(run)
