"""The API reads one account with a token in the header, and nothing without."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import event
from werkzeug.test import TestResponse

from core.actions.api_tokens import SCOPES, make_token, revoke_token
from core.scanner.path import Roots
from core.store.accounts import Membership, User
from core.store.tokens import ApiToken
from demo.pki import make_chain, make_root
from tests.make import NOW
from tests.portal.conftest import MakeSite, Site, forget_tries
from tests.scenes import scan_all

DOCUMENT = "/api/v1/openapi.json"
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_stranger_s_cursor_tells_nothing_of_them(site: Site) -> None:
    serve(site, *(f"n{number}.example" for number in range(3)))
    serve(site, *(f"canary{number}.example" for number in range(3)), role="stranger")
    token, theirs = make(site), make(site, "stranger")
    for path in ("/api/v1/domains", "/api/v1/certificates"):
        after = (ask(site, f"{path}?limit=1", theirs).json or {})["next"]
        for asked in (f"{path}?after={after}", f"{path}?limit=1&after={after}"):
            answer = ask(site, asked, token)
            assert "canary" not in answer.text
        if path.endswith("domains"):
            assert (answer.status_code, answer.json) == (400, ask(site, f"{path}?after=nothing", token).json), "as one that never was"


@pytest.mark.parametrize("scopes", [SCOPES[:1], SCOPES[1:], SCOPES])
def test_each_route_asks_its_scope(site: Site, scopes: tuple[str, ...]) -> None:
    token = make(site, "viewer", scopes)
    for path, scope in ROUTES.items():
        answer = ask(site, path, token)
        assert answer.status_code == (200 if not scope or scope in scopes else 403), path
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in answer.headers


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "limit=1_0",
        "limit=%2B5",
        "limit=5&limit=6",
        "after=",
        "after=x",
        "after=a~b",
        "after=1~b",
    ],
)
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


def test_every_refusal_is_json_with_the_headers_of_every_answer(site: Site) -> None:
    headers = {"Authorization": f"Bearer {make(site)}"}
    refused = {("GET", "/api/v1/nothing"): 404, ("GET", "/api"): 404, ("GET", "/api/v2/me"): 404, ("GET", "/api/v1/me?x=%00"): 400}
    refused |= {(method, path): 405 for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE") for path in (*ROUTES, DOCUMENT)}
    for (method, path), status in refused.items():
        answer = site.client().open(path, method=method, headers=headers)
        assert (answer.status_code, answer.mimetype) == (status, "application/json"), (method, path)
        assert (answer.json or {})["error"].endswith("."), (method, path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in answer.headers
        assert status != 405 or answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.slow
def test_head_is_the_answer_without_its_body(site: Site) -> None:
    token = make(site)
    for path in ROUTES:
        whole, head = ask(site, path, token), site.client().head(path, headers={"Authorization": f"Bearer {token}"})
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(whole.data))
        assert site.client().head(path).status_code == 401


@pytest.mark.slow
def test_what_is_told_is_what_the_document_says_and_its_examples_are_true(site: Site) -> None:
    serve(site, "one.example", "two.example")
    site.add("new.example")
    token, document = make(site), document_of(site)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()
    asked = [(path, token) for path in ROUTES] + [
        ("/api/v1/domains?limit=1", token),
        ("/api/v1/domains?limit=0", token),
        ("/api/v1/me", ""),
    ]
    asked += [("/api/v1/me", ""), ("/api/v1/domains", make(site, "viewer", SCOPES[1:]))]
    for path, sent in asked:
        answer = ask(site, path, sent)
        told = document["paths"][path.partition("?")[0]]["get"]["responses"][str(answer.status_code)]
        assert_is(answer.json, told["content"]["application/json"]["schema"], document)
        assert set(told.get("headers", {})) <= set(answer.headers.keys())
    assert set(document["paths"]) == set(ROUTES)
    for path, scope in ROUTES.items():
        assert scope in document["paths"][path]["get"]["description"]
    examples = list(examples_in(document))
    assert len(examples) > 10
    for schema in examples:
        for example in schema["examples"]:
            assert_is(example, schema, document)


def document_of(site: Site) -> dict[str, Any]:
    """The document, as nobody in particular gets it."""
    answer = site.client().get(DOCUMENT)
    assert (answer.status_code, answer.mimetype, answer.headers["Cache-Control"]) == (200, "application/json", "no-cache")
    assert site.client().get(DOCUMENT, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    return dict(answer.json or {})


def assert_is(thing: object, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """The thing has this shape, with nothing left over: what is told and not described would be found here."""
    closed = {name: each | {"additionalProperties": False} for name, each in document["components"]["schemas"].items()}
    Draft202012Validator(schema | {"components": {"schemas": closed}}, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(thing)


def examples_in(part: object) -> Iterator[dict[str, Any]]:
    """Every schema that has examples."""
    if isinstance(part, dict):
        if "examples" in part:
            yield part
        for each in part.values():
            yield from examples_in(each)
    elif isinstance(part, list):
        for each in part:
            yield from examples_in(each)


@pytest.mark.slow
def test_who_asks_too_often_is_told_when_to_come_back(make_site: MakeSite) -> None:
    site = make_site(api_per_minute=8)  # half of it while the broker is away, as it is here: four a token, twenty an address
    forget_tries()
    token, other = make(site), make(site)

    def asked(token: str, address: str = "192.0.2.7", **headers: str) -> TestResponse:
        sent = {"Authorization": f"Bearer {token}"} | headers
        return site.client().get("/api/v1/me", headers=sent, environ_overrides={"REMOTE_ADDR": address})

    assert [asked(token).status_code for _ in range(5)] == [200] * 4 + [429]
    assert asked(token, "192.0.2.8", Authorization=f"bearer   {token}").status_code == 429, "however it is written, from wherever"
    told = asked(token)
    assert 1 <= int(told.headers["Retry-After"]) <= 61
    assert told.json == {"error": f"That was asked too often. Ask again in {told.headers['Retry-After']} s."}
    assert asked(other).status_code == 200, "each token has its own"
    assert [asked(f"kc_{turn}").status_code for turn in range(14)] == [401] * 13 + [429], "an address has one for all it sends"
    assert asked(other).status_code == 429
    assert asked(other, "192.0.2.9").status_code == 200, "which is not another's"
    sixth = [asked(f"kc_{turn}", f"2001:db8::{turn:x}").status_code for turn in range(21)]
    assert sixth == [401] * 20 + [429], "a network of IPv6 counts as one address"


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
