"""Forgotten passwords, coming in, another address: the pages, and that they tell nobody who is known here."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.store.letters import Letter
from tests.mailed import Post, link
from tests.make import NOW
from tests.portal.conftest import PASSWORD, PEOPLE, Site, forget_tries, post, token_of

NEW = "another five words here"


def sends(site: Site, folder: Path) -> Post:
    return Post(site.sessions, folder, NOW + timedelta(minutes=1))


@pytest.mark.parametrize(("path", "setting"), [("/forgot", "invitation"), ("/sign-up", "open")])
def test_known_and_unknown_people_get_the_same_answer_and_the_same_work(
    make_site: Callable[..., Site], path: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(sign_up=setting)
    hashed: list[str] = []
    monkeypatch.setattr("argon2.PasswordHasher.verify", lambda *_: hashed.append("verify"))
    monkeypatch.setattr("argon2.PasswordHasher.hash", lambda *_: hashed.append("hash"))
    asked: list[tuple[int, str, int]] = []
    for email in (PEOPLE["owner"], "mirx@example.org"):  # as long as the other
        statements: list[str] = []

        def note(_c: object, _u: object, statement: str, *_: object, into: list[str] = statements) -> None:
            into.append(statement)

        client = site.client()
        client.get(path)
        engine = site.app.extensions["keychest"].sessions.engine
        sa.event.listen(engine, "before_cursor_execute", note)
        answer = post(client, path, {"email": email})
        sa.event.remove(engine, "before_cursor_execute", note)
        asked.append((answer.status_code, answer.text.replace(email, "E"), len(statements)))
        assert not hashed
    known, unknown = asked
    assert known[0] == unknown[0] == 200
    assert "a mail with a link is on its way" in known[1]
    assert cleaned(known[1]) == cleaned(unknown[1])
    assert known[2] == unknown[2] > 0
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 2


def cleaned(page: str) -> str:
    """Without what differs in every answer: the token of its forms, and the address as it is shown."""
    page = re.sub(r'content="[^"]{40,}"|value="[^"]{40,}"', "", page.replace("<wbr>", ""))
    return page.replace(PEOPLE["owner"], "E").replace("mirx@example.org", "E")


@pytest.mark.slow
def test_a_forgotten_password_is_chosen_anew(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site()
    client = site.client()
    assert "Look into your mail" in post(client, "/forgot", {"email": PEOPLE["owner"]}).text
    token = link(sends(site, tmp_path).send()[0], "/reset/")
    assert PEOPLE["owner"] in html.unescape(client.get(f"/reset/{token}").text.replace("<wbr>", ""))
    short = post(client, f"/reset/{token}", {"password": "short"})
    assert short.status_code == 422
    assert "at least 12 characters" in short.text
    assert post(client, f"/reset/{token}", {"password": NEW}).location == "/"
    assert client.get("/domains").status_code == 200
    assert site.client("owner").get("/domains").status_code == 303, "signed in before"
    again = post(site.client(), f"/reset/{token}", {"password": NEW})
    assert again.status_code == 422
    assert "used already" in again.text
    forget_tries()
    assert post(site.client(), "/sign-in", {"email": PEOPLE["owner"], "password": PASSWORD}).status_code == 422
    assert post(site.client(), "/sign-in", {"email": PEOPLE["owner"], "password": NEW}).status_code == 303


def test_what_is_no_address_is_told_and_kept(make_site: Callable[..., Site]) -> None:
    answer = post(make_site().client(), "/forgot", {"email": "mira at example"})
    assert answer.status_code == 422
    assert "not an e-mail address" in answer.text
    assert 'value="mira at example"' in answer.text


@pytest.mark.slow
def test_who_is_let_in_makes_an_account_by_a_link(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site(sign_up="open")
    client = site.client()
    assert 'href="/sign-up"' in client.get("/sign-in").text
    post(client, "/sign-up", {"email": "new@example.org"})
    token = link(sends(site, tmp_path).send()[0], "/sign-up/")
    assert client.get(f"/sign-up/{token}").status_code == 200
    assert post(client, f"/sign-up/{token}", {"password": NEW}).location == "/domains"
    assert "new@example.org" in html.unescape(client.get("/security").text.replace("<wbr>", ""))
    assert client.get(f"/sign-up/{token}").status_code == 404


@pytest.mark.parametrize("setting", ["invitation", "closed"])
def test_where_nobody_may_come_in_there_is_no_way(make_site: Callable[..., Site], setting: str) -> None:
    client = make_site(sign_up=setting).client()
    assert 'href="/sign-up"' not in client.get("/sign-in").text
    assert client.get("/sign-up").status_code == post(client, "/sign-up", {"email": "new@example.org"}).status_code == 404


@pytest.mark.slow
def test_a_closed_installation_takes_invitations_of_its_own_people_alone(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site(sign_up="closed")
    for email in ("new@example.org", PEOPLE["stranger"]):
        assert post(site.client("owner"), "/team/invite", {"email": email, "role": "viewer", "days": "7"}).status_code == 303
    mails = sends(site, tmp_path).send()
    new, known = (
        next(link(mail, "/invitation/") for mail in mails if f"To: {to}" in mail) for to in ("new@example.org", PEOPLE["stranger"])
    )
    refused = post(site.client(), f"/invitation/{new}", {"password": NEW})
    assert refused.status_code == 422
    assert "takes nobody new in" in refused.text
    assert post(site.client("stranger"), f"/invitation/{known}").status_code == 303


@pytest.mark.slow
def test_an_address_changes_by_two_links_that_only_a_button_uses(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site()
    client = site.client("owner")
    wrong = post(client, "/security/email", {"email": "vera2@example.org", "proof": "wrong"})
    assert wrong.status_code == 422
    assert "not your password" in wrong.text
    assert 'value="vera2@example.org"' in wrong.text
    assert post(client, "/security/email", {"email": "vera2@example.org", "proof": PASSWORD}).status_code == 303
    mails = sends(site, tmp_path).send()
    old = next(f"/email/old/{link(mail, '/email/old/')}" for mail in mails if "/email/old/" in mail)
    new = next(f"/email/new/{link(mail, '/email/new/')}" for mail in mails if "/email/new/" in mail)
    for _ in range(2):
        assert client.get(old).status_code == client.get(new).status_code == 200
    forget_tries()
    assert "One more to go" in post(client, old).text
    assert "Your address is changed" in post(site.client(), new).text
    assert post(client, new).status_code == 422
    assert "vera2@example.org" in html.unescape(client.get("/security").text.replace("<wbr>", ""))
    assert post(site.client(), "/sign-in", {"email": "vera2@example.org", "password": PASSWORD}).status_code == 303


def test_links_are_built_from_the_setting_whatever_host_was_asked(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site()
    client = site.client()
    data = {"csrf_token": token_of(client, "/ui"), "email": PEOPLE["owner"]}
    for headers in ({"X-Forwarded-Host": "evil.example"}, {"Host": "evil.example", "Referer": "http://evil.example/ui"}):
        client.post("/forgot", data=data, headers=headers)
    mail, *_ = sends(site, tmp_path).send()
    assert "evil.example" not in mail


@pytest.mark.slow
def test_the_team_page_tells_what_became_of_a_mail(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site()
    post(site.client("owner"), "/team/invite", {"email": "new@example.org", "role": "viewer", "days": "7"})
    assert "The mail is on its way." in site.client("owner").get("/team").text
    mailing = sends(site, tmp_path)
    mailing.smtp_url = "smtp://127.0.0.1:1"
    mailing.send()
    assert "could not be sent yet, and is tried again" in site.client("owner").get("/team").text
    mailing.smtp_url, mailing.at = "", mailing.at + timedelta(minutes=2)
    mailing.send()
    assert "The mail was sent." in site.client("owner").get("/team").text


@pytest.mark.slow
def test_a_mail_whose_worker_was_stopped_is_told_as_what_it_is(make_site: Callable[..., Site]) -> None:
    site = make_site()
    post(site.client("owner"), "/team/invite", {"email": "new@example.org", "role": "viewer", "days": "7"})
    with site.sessions.writing() as session:
        session.execute(sa.update(Letter).values(handed_at=NOW))
    assert "It is not known" not in site.client("owner").get("/team").text, "it may be leaving just now"
    with site.sessions.writing() as session:
        session.execute(sa.update(Letter).values(handed_at=NOW - timedelta(minutes=5)))
    assert "It is not known whether the mail arrived (its worker was stopped)" in site.client("owner").get("/team").text
