from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.accounts import create_user, issue_setup_link
from core.store.accounts import LoginSession, User
from portal.identity import safe_next
from tests.make import NOW, TERMINAL
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, post, token_of


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
