"""The API reads one account with a token in the header, and nothing without."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from werkzeug.test import TestResponse

from core.actions.api_tokens import SCOPES, make_token, revoke_token
from core.scanner.path import Roots
from core.store.accounts import Membership, User
from core.store.tokens import ApiToken
from demo.pki import make_chain, make_root
from tests.make import NOW
from tests.portal.conftest import MakeSite, Site
from tests.scenes import scan_all

ROUTES = {"/api/v1/me": "", "/api/v1/domains": "read:domains", "/api/v1/certificates": "read:certificates"}


def make(site: Site, role: str = "owner", scopes: tuple[str, ...] = SCOPES) -> str:
    with site.sessions.writing() as session:
        return make_token(session, site.actors[role], name="wall", days=30, scopes=scopes, now=NOW).token


def ask(site: Site, path: str, token: str) -> TestResponse:
    return site.client().get(path, headers={"Authorization": f"Bearer {token}"})


def serve(site: Site, *names: str, role: str = "owner") -> None:
    """These names are listed, and each was seen to serve a certificate of its own."""
    site.add(*names, role=role)
    root = make_root(now=NOW)
    seen = {name: {"192.0.2.1": make_chain([name], root=root, now=NOW).ders} for name in names}
    scan_all(site.sessions, seen, Roots.of([root.certificate]), NOW + timedelta(seconds=10))


def walk(site: Site, path: str, token: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after = ""
    for _ in range(20):
        answer = ask(site, f"{path}?limit=2{after}", token).json or {}
        items += answer["items"]
        if answer["next"] is None:
            return items
        after = f"&after={answer['next']}"
    raise AssertionError("the pages have no end")


def test_pages_show_every_row_of_ones_own_once_and_no_stranger_s(site: Site) -> None:
    names = [f"n{number}.example" for number in range(5)]
    serve(site, *names)
    serve(site, "canary.example", role="stranger")
    token, theirs = make(site), make(site, "stranger")
    assert [item["name"] for item in walk(site, "/api/v1/domains", token)] == names
    found = walk(site, "/api/v1/certificates", token)
    assert sorted(name for item in found for name in item["names"]) == names
    assert len({item["sha256"] for item in found}) == 5
    for path in ROUTES:
        assert "canary" not in ask(site, path, token).text
        assert "n1.example" not in ask(site, path, theirs).text
    assert [item["names"] for item in walk(site, "/api/v1/certificates", theirs)] == [["canary.example"]]


@pytest.mark.parametrize("scopes", [SCOPES[:1], SCOPES[1:], SCOPES])
def test_each_route_asks_its_scope(site: Site, scopes: tuple[str, ...]) -> None:
    token = make(site, "viewer", scopes)
    for path, scope in ROUTES.items():
        answer = ask(site, path, token)
        assert answer.status_code == (200 if not scope or scope in scopes else 403), path
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("how", ["revoked", "ended", "member", "user"])
def test_what_is_over_is_over_at_once_and_all_answers_are_alike(site: Site, how: str) -> None:
    token, wrong = make(site), ask(site, "/api/v1/me", "kc_nothing")
    assert ask(site, "/api/v1/me", token).status_code == 200
    actor = site.actors["owner"]
    with site.sessions.writing() as session:
        row = session.scalars(sa.select(ApiToken)).one()
        if how == "revoked":
            revoke_token(session, actor, ref=row.ref, now=NOW)
        elif how == "ended":
            row.expires_at = NOW
        else:
            table, key = (Membership, Membership.user_id) if how == "member" else (User, User.id)
            session.execute(sa.update(table).where(key == actor.user_id).values(deleted_at=NOW))
    answer = ask(site, "/api/v1/me", token)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json == wrong.json


def test_a_token_in_the_address_is_none_and_a_cookie_neither(site: Site) -> None:
    token = make(site)
    for query in (f"?token={token}", f"?access_token={token}", f"?Authorization=Bearer+{token}"):
        assert site.client("owner").get(f"/api/v1/me{query}").status_code == 401


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "after=", "after=x", "after=a~b", "after=1~b"])
def test_what_is_no_limit_or_cursor_is_told(site: Site, query: str) -> None:
    token = make(site)
    for path in ("/api/v1/domains", "/api/v1/certificates"):
        answer = ask(site, f"{path}?{query}", token)
        assert answer.status_code == 400
        assert list(answer.json or {}) == ["error"]


def test_the_token_is_nowhere_in_the_database_and_its_use_is_kept(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    token = make(site)
    assert ask(site, "/api/v1/me", token).status_code == 200
    with site.sessions.reading() as session:
        row = session.scalars(sa.select(ApiToken)).one()
        assert (row.last_used_at, row.last_network) == (NOW + timedelta(minutes=1), "127.0.0.0/24")
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("portal.db*"))
    assert row.token_sha256.encode() in kept
    secret = token.removeprefix(f"{row.prefix}_")
    assert len(secret) == 43, "which may hold an underscore of its own"
    assert secret.encode() not in kept
    assert secret[:12].encode() not in kept
    assert secret[-12:].encode() not in kept


def test_every_refusal_is_json(site: Site) -> None:
    token = make(site)
    for answer in (ask(site, "/api/v1/nothing", token), site.client().post("/api/v1/me"), ask(site, "/api/v1/me?x=%00", token)):
        assert answer.status_code in {400, 403, 404, 405}
        assert answer.mimetype == "application/json"
        assert (answer.json or {})["error"].endswith(".")


def test_a_use_that_cannot_be_noted_is_answered_all_the_same(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    token = make(site)
    locked = sqlite3.connect(site.sessions.engine.url.database or "", isolation_level=None)
    try:
        locked.execute("BEGIN IMMEDIATE")
        event.listen(site.sessions.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=0"))
        assert ask(site, "/api/v1/me", token).status_code == 200
    finally:
        locked.close()
    assert "last use was not kept" in caplog.text
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(ApiToken.last_used_at)).one() is None
