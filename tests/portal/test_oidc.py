"""Single sign-on as browsers do it: off to a provider on loopback, back by a GET that changes nothing, and in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from audit.tables import OutboxEvent
from core.store.base import Base
from core.store.identities import Identity
from tests.mailed import Post, link
from tests.make import NOW
from tests.oidc import Idp, failing, idp, unsigned
from tests.passkeys import Device
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, forget_tries, post

CALLBACK = "/sign-in/oidc/callback"


@dataclass
class Office:
    """A portal, and the provider that its people go to."""

    site: Site
    idp: Idp

    def off(self, client: FlaskClient, path: str = "/sign-in/oidc", data: dict[str, str | list[str]] | None = None) -> str:
        """The address at the provider that the browser is sent to."""
        forget_tries()
        answer = post(client, path, data or {"next": "/bin"})
        assert answer.status_code == 200, answer.text
        url = answer.headers["Refresh"].removeprefix("0; url=")
        assert html.escape(url) in answer.text, "there is a link for who is not sent on"
        return url

    def back(self, client: FlaskClient, came: dict[str, str]) -> TestResponse:
        """What the browser brings back, as far as the page that posts it on."""
        return client.get(CALLBACK, query_string=came)

    def on(self, client: FlaskClient, page: TestResponse) -> TestResponse:
        """The form of that page, posted as the script does."""
        forget_tries()
        action = re.search(r'<form[^>]*method="post" action="([^"]+)" data-onward', page.text)
        assert action is not None, page.text
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return client.post(action[1], data={name: html.unescape(value) for name, value in fields.items()})

    def whole(self, client: FlaskClient, **more: str) -> TestResponse:
        return self.on(client, self.back(client, self.idp.consent(self.off(client, data={"next": "/bin", **more}))))

    def connected(self) -> FlaskClient:
        """The owner's browser, after they connected what they are at the provider."""
        client = self.site.client("owner")
        url = self.off(client, "/security/oidc/begin", {"identity_proof": PASSWORD})
        answer = self.on(client, self.back(client, self.idp.consent(url)))
        assert (answer.status_code, answer.location) == (303, "/security"), answer.text
        return client


@pytest.fixture
def running() -> Iterator[Idp]:
    with idp() as made:
        made.now = lambda: NOW + timedelta(minutes=1)
        yield made


@pytest.fixture
def office(make_site: MakeSite, running: Idp) -> Office:
    return Office(make_site(provider=running.provider(), sign_up="open"), running)


def said(client: FlaskClient, path: str = "/sign-in") -> str:
    return html.unescape(client.get(path).text)


def test_who_is_new_comes_in_and_stays_where_they_wanted_to_go(office: Office) -> None:
    client = office.site.client()
    page = client.get("/sign-in").text
    assert "Continue with Harbourlight SSO" in page
    answer = office.whole(client, stay="1")
    assert (answer.status_code, answer.location) == (303, "/bin")
    assert "Expires=" in answer.headers["Set-Cookie"], "who asked to stay stays"
    assert "nia@harbour.example.org" in client.get("/security").text
    page = client.get("/security").text
    assert "To disconnect it, choose a password first" in page
    assert 'href="/forgot"' in page
    assert 'name="current"' not in page
    question = {name: values[0] for name, values in parse_qs(urlsplit(office.off(office.site.client())).query).items()}
    assert question["redirect_uri"] == f"http://localhost{CALLBACK}"
    assert set(question) == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method"
    }  # fmt: skip


@pytest.mark.slow
def test_who_came_in_by_it_chooses_a_password_by_mail(office: Office, tmp_path: Path) -> None:
    office.whole(office.site.client())
    forget_tries()
    somebody = office.site.client()
    post(somebody, "/forgot", {"email": "nia@harbour.example.org"})
    mails = Post(office.site.sessions, tmp_path, NOW + timedelta(minutes=1)).send()
    token = next(link(mail, "/reset/") for mail in mails if "/reset/" in mail)
    assert post(somebody, f"/reset/{token}", {"password": "four or five words"}).status_code == 303
    forget_tries()
    other = office.site.client()
    assert post(other, "/sign-in", {"email": "nia@harbour.example.org", "password": "four or five words"}).location == "/"
    assert "Disconnect it" in other.get("/security").text


@pytest.mark.slow
def test_who_is_here_connects_it_signs_in_by_it_and_lets_it_go(office: Office) -> None:
    client = office.site.client("owner")
    forget_tries()
    wrong = post(client, "/security/oidc/begin", {"identity_proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    office.idp.who |= {"email": "<b>nia</b>@harbour.example.org", "email_verified": False}
    client = office.connected()
    page = client.get("/security").text
    assert "&lt;b&gt;nia&lt;/b&gt;@harbour.example.org" in page
    assert "Connected" in page
    somebody = office.site.client()
    assert office.whole(somebody).location == "/bin"
    assert PEOPLE["owner"] in somebody.get("/security").text
    ref = re.findall(r'name="ref" value="([^"]+)"><', page.replace("\n", "<"))[0]
    forget_tries()
    assert post(client, "/security/oidc/remove", {"ref": ref, "identity_proof": "wrong"}).status_code == 422
    assert post(client, "/security/oidc/remove", {"ref": ref, "identity_proof": PASSWORD}).status_code == 303
    assert "is disconnected" in client.get("/security").text
    assert office.whole(office.site.client()).location == "/sign-in"


def test_an_address_that_is_known_here_lets_nobody_in(office: Office) -> None:
    office.idp.who["email"] = PEOPLE["owner"]
    client = office.site.client()
    assert office.whole(client).location == "/sign-in"
    assert f"You are here already, as {PEOPLE['owner']}" in said(client)
    assert client.get("/domains").status_code == 303


def test_the_way_back_changes_nothing_and_asks_the_provider_nothing(office: Office) -> None:
    client = office.site.client()
    came = office.idp.consent(office.off(client))
    before, asked = rows(office.site), list(office.idp.asked)
    for _ in range(3):
        page = office.back(client, came)
        assert page.status_code == 200
    assert rows(office.site) == before
    assert office.idp.asked == asked
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert office.on(client, page).location == "/bin"


def rows(site: Site) -> dict[str, list[str]]:
    with site.sessions.reading() as session:
        return {table.name: sorted(map(repr, session.execute(sa.select(table)))) for table in Base.metadata.sorted_tables}


def test_an_answer_counts_once_and_in_the_browser_that_went_there(office: Office) -> None:
    client, other = office.site.client(), office.site.client()
    came = office.idp.consent(office.off(client))
    refused = office.back(other, came)
    assert refused.status_code == 422
    assert "begun in another browser" in refused.text
    office.off(other)
    assert office.back(other, came).status_code == 422, "its own way is another one"
    page = office.back(client, came)
    assert office.on(client, page).location == "/bin"
    forget_tries()
    assert office.on(client, page).status_code == 403, "the form was the sign-in page's"
    again = post(client, "/sign-in/oidc/enter", came)  # type: ignore[arg-type]
    assert again.location == "/sign-in"
    assert "was answered already" in html.unescape(client.get("/sign-in", follow_redirects=True).text)
    assert office.idp.asked.count("/token") == 1, "a replay reaches nobody"
    assert office.back(client, came).status_code == 422


def test_a_code_of_another_way_and_a_planted_state_are_refused(office: Office) -> None:
    """Code injection: the attacker's own code, put into a victim's way, does not fit the victim's verifier."""
    victim, attacker = office.site.client(), office.site.client()
    stolen = office.idp.consent(office.off(attacker))
    own = office.idp.consent(office.off(victim))
    answer = office.on(victim, office.back(victim, {**own, "code": stolen["code"]}))
    assert answer.location == "/sign-in"
    assert "does not hold" in said(victim)
    assert victim.get("/domains").status_code == 303
    forget_tries()
    planted = post(office.site.client(), "/sign-in/oidc/enter", {"state": own["state"], "code": own["code"]})
    assert planted.location == "/sign-in"
    with office.site.sessions.reading() as session:
        kinds = session.scalars(sa.select(OutboxEvent.kind)).all()
    assert kinds.count("identity.failed.v1") == 1


def test_a_way_to_come_in_connects_nothing_and_the_other_way_about(office: Office) -> None:
    client = office.site.client("owner")
    came = office.idp.consent(office.off(client))
    forget_tries()
    assert post(client, "/security/oidc", {"state": came["state"], "code": came["code"]}).location == "/security"
    assert "begun in another browser" in said(client, "/security")
    came = office.idp.consent(office.off(client, "/security/oidc/begin", {"identity_proof": PASSWORD}))
    forget_tries()
    assert post(client, "/sign-in/oidc/enter", {"state": came["state"], "code": came["code"]}).location == "/sign-in"
    with office.site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Identity)) == 0


@pytest.mark.parametrize(
    "came", [{"error": "<script>canary</script>", "error_description": "canary"}, {"iss": "https://elsewhere.example", "code": "x"}, {}]
)
def test_a_no_of_the_provider_is_told_in_our_words(office: Office, came: dict[str, str]) -> None:
    client = office.site.client()
    state = office.idp.consent(office.off(client))["state"]
    page = office.back(client, {**came, "state": state})
    assert page.status_code == 422
    assert "did not say who you are" in page.text
    assert "canary" not in page.text


@pytest.mark.slow
def test_what_does_not_hold_lets_nobody_in_and_is_told(office: Office) -> None:
    client = office.site.client()
    office.idp.sign = unsigned
    assert office.whole(client).location == "/sign-in"
    assert "What came from Harbourlight SSO does not hold" in said(client)
    owner = office.site.client("owner")
    url = office.off(owner, "/security/oidc/begin", {"identity_proof": PASSWORD})
    assert office.on(owner, office.back(owner, office.idp.consent(url))).location == "/security"
    assert "does not hold" in said(owner, "/security")


def test_a_provider_that_is_not_well_holds_nobody_else_up(office: Office) -> None:
    office.idp.broken = {"/.well-known/openid-configuration": failing}
    client = office.site.client()
    forget_tries()
    assert post(client, "/sign-in/oidc").location == "/sign-in"
    assert "did not answer as it has to" in said(client)
    owner = office.site.client("owner")
    assert post(owner, "/security/oidc/begin", {"identity_proof": PASSWORD}).location == "/security"
    page = said(owner, "/security")
    assert "did not answer as it has to" in page
    assert "canary" not in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["enter", "connect"])
def test_no_transaction_is_open_while_the_provider_is_asked(office: Office, kind: str) -> None:
    """On SQLite a writer waits for the other: somebody else's write must go through in the middle."""
    client = office.site.client("owner" if kind == "connect" else "nobody")
    seen: list[str] = []

    def in_between(path: str) -> None:
        with office.site.sessions.writing() as session:
            session.connection().exec_driver_sql("UPDATE users SET email = email")
        seen.append(path)

    office.idp.when_asked = in_between
    if kind == "connect":
        url = office.off(client, "/security/oidc/begin", {"identity_proof": PASSWORD})
        assert office.on(client, office.back(client, office.idp.consent(url))).location == "/security"
    else:
        assert office.whole(client).location == "/bin"
    assert seen == ["/.well-known/openid-configuration", "/token", "/keys"]


@pytest.mark.slow
def test_a_second_factor_is_asked_for(office: Office) -> None:
    owner, device = office.connected(), Device()
    forget_tries()
    asked = re.search(r'data-asked="([^"]+)"', post(owner, "/security/passkeys/begin", {"passkey_proof": PASSWORD, "name": "x"}).text)
    assert asked is not None
    post(owner, "/security/passkeys", {"answer": device.make(html.unescape(asked[1])), "name": "x"})
    client = office.site.client()
    assert office.whole(client).location == "/sign-in/code?next=%2Fbin"
    assert client.get("/domains").status_code == 303


def test_without_a_provider_and_in_a_demonstration_there_is_none(make_site: MakeSite, running: Idp) -> None:
    for site in (make_site(), make_site(provider=running.provider(), demo=("a@example.org", "x"))):
        client = site.client()
        assert "Continue with" not in client.get("/sign-in").text
        forget_tries()
        assert post(client, "/sign-in/oidc").status_code == 404
        assert post(client, "/sign-in/oidc/enter").status_code == 404
        assert client.get(CALLBACK).status_code == 404


def test_ways_to_the_provider_are_limited_by_address(office: Office) -> None:
    forget_tries()
    statuses = [post(office.site.client(), "/sign-in/oidc").status_code for _ in range(7)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
