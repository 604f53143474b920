import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, cast

import argon2
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from core.actions import passwords
from core.actions.accounts import create_user, issue_setup_link
from core.store.accounts import LoginSession, User
from core.store.db import Sessions
from portal.identity import safe_next
from tests.make import NOW, TERMINAL
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, forget_tries, post, token_of


def test_signing_in_leads_back_to_what_was_asked_for(site: Site) -> None:
    client = site.client()
    asked = client.get("/domains?q=b%C3%BCcher&sort=ends")
    assert asked.status_code == 303
    assert asked.location == "/sign-in?next=%2Fdomains%3Fq%3Db%25C3%25BCcher%26sort%3Dends"
    assert 'name="next" value="/domains?q=b%C3%BCcher&amp;sort=ends"' in client.get(asked.location).text
    done = post(client, "/sign-in", {"email": " Mira@Example.org ", "password": PASSWORD, "next": "/domains?q=b%C3%BCcher&sort=ends"})
    assert (done.status_code, done.location) == (303, "/domains?q=b%C3%BCcher&sort=ends")
    assert client.get("/domains").status_code == 200
    assert client.get("/sign-in").location == "/", "who is signed in is not asked again"


def test_a_wrong_address_and_a_wrong_password_are_answered_alike(site: Site) -> None:
    answers = []
    for email in (PEOPLE["owner"], "nobody@example.org"):
        client = site.client()
        answer = post(client, "/sign-in", {"email": email, "password": "wrong"})
        answers.append((answer.status_code, answer.text.replace(email, "").split("<main", 1)[1].split("csrf_token")[0]))
        assert f'value="{email}"' in answer.text, "what was typed is kept"
        assert "wrong" not in answer.text.split("<main", 1)[1], "a password is never sent back"
    assert answers[0] == answers[1]
    assert answers[0][0] == 422


def test_a_planted_session_is_thrown_away_at_sign_in(site: Site) -> None:
    client = site.client()
    before = token_of(client)
    with client.session_transaction() as session:
        session["planted"] = "by a stranger"
    post(client, "/sign-in", {"email": PEOPLE["owner"], "password": PASSWORD})
    with client.session_transaction() as session:
        assert "planted" not in session
        assert len(session["_user_id"]) == 43, "256 bits"
        assert session["_user_id"] not in site.tokens.values()
    assert client.post("/domains", data={"csrf_token": before, "names": "a.example"}).status_code == 403, "the old token is worth nothing"


def test_signing_out_ends_the_sign_in_on_the_server(site: Site) -> None:
    client, thief = site.client("owner"), site.client("owner")
    assert thief.get("/domains").status_code == 200
    assert post(client, "/sign-out").location == "/sign-in"
    assert thief.get("/domains").status_code == 303, "a copy of the cookie is worth nothing"
    with site.sessions.reading() as session:
        ended = session.scalars(sa.select(LoginSession.ended_at).where(LoginSession.user_id == site.actors["owner"].user_id)).all()
    assert ended == [NOW + timedelta(minutes=1)]


def test_a_removed_person_is_out_at_once(site: Site) -> None:
    client = site.client("viewer")
    assert client.get("/domains").status_code == 200
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.email == PEOPLE["viewer"]).values(deleted_at=NOW))
    assert client.get("/domains").status_code == 303


def test_a_sign_in_ends_after_two_weeks(make_site: MakeSite) -> None:
    site = make_site()
    later = make_site(now=lambda: NOW + timedelta(days=14, minutes=1))
    later.tokens = site.tokens
    assert site.client("owner").get("/domains").status_code == 200
    assert later.client("owner").get("/domains").status_code == 303


def test_an_ended_sign_in_sends_htmx_to_the_sign_in_page_and_back_to_the_page(site: Site) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/domains?state=bad"}
    answer = site.client().get("/domains/rows?ref=x", headers=headers)
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/sign-in?next=%2Fdomains%3Fstate%3Dbad")
    foreign = site.client().get("/domains/rows", headers=headers | {"HX-Current-URL": "https://evil.example/x"})
    assert foreign.headers["HX-Redirect"] == "/sign-in"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/ü",
        "/x\\y",
        "/" + "x" * 3000,
    ],
)
def test_next_never_leads_elsewhere(target: str) -> None:
    assert safe_next(target) == "/"


def test_next_keeps_paths_of_ours() -> None:
    assert safe_next("/domains?q=a%20b") == "/domains?q=a%20b"


@pytest.mark.slow
def test_the_first_operator_sets_up_once(make_site: MakeSite, sqlite_url: str) -> None:
    site = make_site()
    with site.sessions.writing() as session:
        token = issue_setup_link(session, TERMINAL, now=NOW)
    client = site.client()
    assert "You become the first operator" in client.get(f"/setup/{token}").text
    short = post(client, f"/setup/{token}", {"email": "op@example.org", "password": "short"})
    assert short.status_code == 422
    assert "at least 12 characters" in short.text
    assert 'value="op@example.org"' in short.text
    bad = post(client, f"/setup/{token}", {"email": "op", "password": PASSWORD})
    assert "This is not an e-mail address" in bad.text
    done = post(client, f"/setup/{token}", {"email": "op@example.org", "password": PASSWORD})
    assert (done.status_code, done.location) == (303, "/domains")
    assert client.get("/domains").status_code == 200
    again = site.client().get(f"/setup/{token}")
    assert again.status_code == 404
    assert "cannot be used" in again.text
    assert 'href="/sign-in">Sign in' in again.text
    inside = client.get(f"/setup/{token}").text
    assert 'href="/">Overview</a>' in inside[inside.index("cannot be used") :], "who is signed in goes on"
    assert 'href="/sign-in"' not in inside
    assert post(site.client(), f"/setup/{token}", {"email": "b@example.org", "password": PASSWORD}).status_code == 422


def test_a_new_user_chooses_a_password_once(site: Site) -> None:
    with site.sessions.writing() as session:
        token = create_user(session, TERMINAL, email="new@example.org", operator=False, now=NOW)
    client = site.client()
    assert client.get(f"/welcome/{token}").status_code == 200
    assert client.get(f"/setup/{token}").status_code == 404, "a link is for one thing"
    assert post(client, f"/welcome/{token}", {"password": PASSWORD}).location == "/"
    assert client.get("/domains").status_code == 200
    assert site.client().get(f"/welcome/{token}").status_code == 404


class Witnessed(argon2.PasswordHasher):
    """A real hasher that looks, each time it begins to work, whether the portal holds anything that others would wait for."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(time_cost=4)
        self.sessions = sessions
        self.worked: list[str] = []

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self._look("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - its parameter's name
        self._look("verify")
        return super().verify(hash, password)

    def _look(self, work: str) -> None:
        assert cast("QueuePool", self.sessions.engine.pool).checkedout() == 0, f"a session is open while {work} works"
        other = sqlite3.connect(str(self.sessions.engine.url.database), timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")  # raises "database is locked" while the portal writes
            other.execute("UPDATE users SET installation_role = installation_role")
            other.execute("COMMIT")
        finally:
            other.close()
        self.worked.append(work)


@pytest.fixture
def hasher(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witnessed]:
    witnessed = Witnessed(site.sessions)
    monkeypatch.setattr(passwords, "_HASHER", witnessed)
    passwords._nobody.cache_clear()
    yield witnessed
    passwords._nobody.cache_clear()


@pytest.mark.slow
def test_others_can_write_while_a_password_is_verified(site: Site, hasher: Witnessed) -> None:
    right: dict[str, str | list[str]] = {"email": PEOPLE["owner"], "password": PASSWORD}
    assert post(site.client(), "/sign-in", right).status_code == 303
    assert hasher.worked == ["verify", "hash"], "and made anew, since the measure has grown"
    assert post(site.client("stranger"), "/sign-in", right).status_code == 303, "who is signed in already is looked up by no session first"
    assert post(site.client(), "/sign-in", right | {"password": "wrong"}).status_code == 422
    hasher.worked.clear()
    assert post(site.client(), "/sign-in", right | {"email": "nobody@example.org"}).status_code == 422
    assert hasher.worked == ["hash", "verify"], "for an unknown address it works as well"
    assert post(site.client(), "/sign-in", right | {"email": "nobody@example.org"}).status_code == 422
    assert hasher.worked == ["hash", "verify", "verify"]


@pytest.mark.slow
def test_others_can_write_while_a_new_password_is_hashed(site: Site, hasher: Witnessed) -> None:
    with site.sessions.writing() as session:
        set_up, welcome = (
            issue_setup_link(session, TERMINAL, now=NOW),
            create_user(session, TERMINAL, email="n@x.example", operator=False, now=NOW),
        )
    assert post(site.client(), f"/welcome/{welcome}", {"password": PASSWORD}).status_code == 303
    assert post(site.client(), f"/setup/{set_up}", {"email": "op@x.example", "password": PASSWORD}).status_code == 303
    assert hasher.worked == ["hash", "hash"]
    for path in (f"/welcome/{welcome}", f"/setup/{set_up}", f"/welcome/{set_up}", "/setup/guess"):
        forget_tries()
        gone = post(site.client(), path, {"email": "op2@x.example", "password": PASSWORD})
        assert (gone.status_code, "cannot be used" in gone.text) == (422, True)
    assert hasher.worked == ["hash", "hash"], "no work for strangers"
