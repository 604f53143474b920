"""Passkeys as browsers use them: the question in the page, the answer in the form, each browser its own."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.passkeys import Device
from tests.portal.conftest import PASSWORD, PEOPLE, Site, forget_tries, post


def asked_in(answer: TestResponse) -> str:
    """What the page asks the device."""
    found = re.search(r'data-asked="([^"]+)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


def added(site: Site, name: str = "Laptop") -> tuple[FlaskClient, Device, TestResponse]:
    client, device = site.client("owner"), Device()
    asked = asked_in(post(client, "/security/passkeys/begin", {"passkey_proof": PASSWORD, "name": name}))
    return client, device, post(client, "/security/passkeys", {"answer": device.make(asked), "name": name})


def signing_in(client: FlaskClient, device: Device, **more: str) -> TestResponse:
    asked = asked_in(post(client, "/sign-in/passkey", {"next": "/bin", **more}))
    return post(client, "/sign-in/passkey/enter", {"answer": device.sign(asked), "next": "/bin", **more})


@pytest.mark.slow
def test_one_is_added_shown_used_and_taken_away(site: Site) -> None:
    client, device, answer = added(site, "<b>Mira's</b> laptop")
    assert len(re.findall(r"<li>[a-z2-7]{4}(?:-[a-z2-7]{4}){3}</li>", answer.text)) == 10
    page = client.get("/security/app").text
    assert "&lt;b&gt;Mira&#39;s&lt;/b&gt; laptop" in page
    assert "Not used yet" in page
    forget_tries()
    somebody = site.client()
    entered = signing_in(somebody, device, stay="1")
    assert (entered.status_code, entered.location) == (303, "/bin")
    assert "Expires=" in entered.headers["Set-Cookie"], "who asked to stay stays"
    assert somebody.get("/domains").status_code == 200
    ref = re.findall(r'name="ref" value="([^"]+)"', page)[0]
    wrong = post(client, "/security/passkeys/remove", {"ref": ref, "passkey_proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    assert post(client, "/security/passkeys/remove", {"ref": ref, "passkey_proof": PASSWORD}).status_code == 303
    assert "Your password alone signs you in" in client.get("/security/app").text
    forget_tries()
    refused = signing_in(site.client(), device)
    assert refused.location == "/sign-in"


@pytest.mark.slow
def test_after_a_password_it_stands_beside_recovery_codes(site: Site) -> None:
    _, device, _ = added(site)
    forget_tries()
    client = site.client()
    answer = post(client, "/sign-in", {"email": PEOPLE["owner"], "password": PASSWORD, "next": "/bin", "stay": "1"})
    assert answer.location == "/sign-in/code?next=%2Fbin"
    page = client.get(answer.location).text
    assert "Use a passkey" in page
    assert "your authenticator app" not in page, "there is none"
    assert client.get("/domains").status_code == 303
    question = post(client, "/sign-in/passkey", {"next": "/bin"})
    assert 'name="stay" value="1"' in question.text, "asked for with the password"
    asked = asked_in(question)
    assert '"allowCredentials": [{' in asked
    entered = post(client, "/sign-in/passkey/enter", {"answer": device.sign(asked), "next": "/bin", "stay": "1"})
    assert entered.location == "/bin"
    assert client.get("/domains").status_code == 200


@pytest.mark.slow
def test_the_answer_counts_in_the_browser_that_was_asked(site: Site) -> None:
    _, device, _ = added(site)
    forget_tries()
    asked = asked_in(post(site.client(), "/sign-in/passkey"))
    other = site.client()
    refused = post(other, "/sign-in/passkey/enter", {"answer": device.sign(asked)})
    assert refused.location == "/sign-in"
    assert "took too long, or was answered already" in other.get("/sign-in").text
    assert other.get("/domains").status_code == 303
    stranger = signing_in(other, Device())
    assert stranger.location == "/sign-in"
    assert "signs nobody in here" in other.get("/sign-in").text


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["", "{}", "[", "[]", "\ud83d" * 3, '{"id": "x", "response": {"userHandle": "//"}}'])
def test_what_no_device_says_is_refused_in_words(site: Site, answer: str) -> None:
    client = site.client("owner")
    asked_in(post(client, "/security/passkeys/begin", {"passkey_proof": PASSWORD, "name": "x"}))
    text = answer.encode("utf-8", "replace").decode()
    refused = post(client, "/security/passkeys", {"answer": text, "name": "x"})
    assert refused.status_code == 422
    assert "does not fit what it was asked" in html.unescape(refused.text)
    forget_tries()
    somebody = site.client()
    asked_in(post(somebody, "/sign-in/passkey"))
    assert post(somebody, "/sign-in/passkey/enter", {"answer": text}).location == "/sign-in"


def test_where_browsers_have_none_pages_say_so_and_nothing_is_asked(make_site: Callable[..., Site]) -> None:
    site = make_site(public_url="http://192.0.2.7")
    client = site.client("owner")
    assert "Browsers have passkeys for names with TLS alone" in client.get("/security/app").text
    refused = post(client, "/security/passkeys/begin", {"passkey_proof": PASSWORD, "name": ""})
    assert refused.status_code == 422
    somebody = site.client()
    assert "Use a passkey" not in somebody.get("/sign-in").text
    assert post(somebody, "/sign-in/passkey").location == "/sign-in"
    assert "for names with TLS alone" in somebody.get("/sign-in").text


def test_a_demonstration_has_none(make_site: Callable[..., Site]) -> None:
    site = make_site(demo=("a@example.org", "x"))
    refused = post(site.client("owner"), "/security/passkeys/begin", {"passkey_proof": PASSWORD, "name": ""})
    assert refused.status_code == 422
    assert "demonstration" in refused.text
    assert "Use a passkey" not in site.client().get("/sign-in").text
