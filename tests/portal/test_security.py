import itertools
import re
import sqlite3
import time
from pathlib import Path

import pytest

from core.store.db import Sessions
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, post, token_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    "path", ["/sign-in", "/domains", "/nothing", "/static/css/ui.css", "/static/nothing", "/setup/x", "/domains/remove"]
)
@pytest.mark.parametrize("role", ["nobody", "owner"])
def test_every_answer_has_its_headers(site: Site, path: str, role: str) -> None:
    headers = site.client(role).get(path, buffered=True).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "HX-Request" in headers["Vary"]
    assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")
    assert "Strict-Transport-Security" not in headers


def test_cookies_are_closed_and_on_https_bound_to_the_host(site: Site, make_site: MakeSite) -> None:
    plain = site.client().get("/sign-in").headers["Set-Cookie"]
    assert plain.startswith("keychest=")
    assert "HttpOnly" in plain
    assert "SameSite=Lax" in plain
    secure = make_site(public_url="https://keychest.example.org")
    answer = secure.client().get("/sign-in", base_url="https://keychest.example.org")
    assert answer.headers["Set-Cookie"].startswith("__Host-keychest=")
    for flag in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert flag in answer.headers["Set-Cookie"]
    assert "Domain" not in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_form_without_its_token_is_refused(site: Site) -> None:
    client = site.client("owner")
    answer = client.post("/domains", data={"names": "a.example"})
    assert answer.status_code == 403
    assert "another place or another session" in answer.text
    assert "Nothing was changed" in answer.text
    assert client.post("/domains", data={"names": "a.example", "csrf_token": token_of(site.client())}).status_code == 403


def test_the_token_may_come_in_htmx_s_header(site: Site) -> None:
    client = site.client("owner")
    assert client.post("/domains", data={"names": "a.example"}, headers={"X-CSRFToken": token_of(client, "/domains")}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({}, 200),
    ],
)
def test_what_another_site_began_is_refused_even_with_a_token(site: Site, headers: dict[str, str], status: int) -> None:
    assert post(site.client("owner"), "/domains", {"names": "a.example"}, **headers).status_code == status


@pytest.mark.slow
def test_guessing_is_slowed_and_the_person_gets_in_from_elsewhere(make_site: MakeSite) -> None:
    site = make_site(trusted_proxies=1)
    client = site.client()
    wrong: dict[str, str | list[str]] = {"email": PEOPLE["owner"], "password": "wrong"}
    statuses = [post(client, "/sign-in", wrong, X_Forwarded_For="203.0.113.5").status_code for _ in range(12)]
    noticed = statuses.index(429)
    assert noticed in {5, 6}, "there is no broker here, which the first try may be the one to notice; tests/portal/test_limits.py has one"
    assert set(statuses[:noticed]) == {422}
    assert set(statuses[noticed:]) == {429}
    told = post(client, "/sign-in", wrong, X_Forwarded_For="203.0.113.5")
    assert "You are not locked out" in told.text
    assert 0 < int(told.headers["Retry-After"]) <= 61
    assert re.search("Wait [12]\u00a0minutes?, then try again", told.text)
    right: dict[str, str | list[str]] = {"email": PEOPLE["owner"], "password": PASSWORD}
    assert post(site.client(), "/sign-in", right, X_Forwarded_For="198.51.100.7").status_code == 303
    forged = post(site.client(), "/sign-in", wrong, X_Forwarded_For="192.0.2.1, 203.0.113.5")
    assert forged.status_code == 429, "only what the trusted proxy added counts"


@pytest.mark.slow
def test_who_goes_on_guessing_one_person_waits_longer_each_time(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(trusted_proxies=1)
    later, began = [0.0], time.time()
    monkeypatch.setattr(time, "time", lambda: began + later[0])
    addresses = itertools.cycle(f"203.0.113.{number}" for number in range(1, 255))  # of one network: each has tries of its own

    def until_refused(email: str) -> tuple[int, int]:
        """How many tries were looked at, and how long whoever tried is to wait then."""
        for count in range(20):
            answer = post(site.client(), "/sign-in", {"email": email, "password": "wrong"}, X_Forwarded_For=next(addresses))
            if answer.status_code == 429:
                return count, int(answer.headers["Retry-After"])
        raise AssertionError("nobody said no")

    first, wait = until_refused(PEOPLE["owner"])
    assert first in {5, 6}, "the first try may be the one by which the missing broker is noticed"
    assert wait <= 61
    later[0] += 61
    second, wait = until_refused(PEOPLE["owner"])
    assert (first + second in {8, 9}, 61 < wait <= 541) == (True, True)
    later[0] += 600
    third, wait = until_refused(PEOPLE["owner"])
    later[0] += 61
    fourth, _ = until_refused(PEOPLE["owner"])
    later[0] += 600
    _, wait = until_refused(PEOPLE["owner"])
    assert first + second + third + fourth <= 16
    assert wait > 600
    assert until_refused(PEOPLE["manager"])[0] == 5, "another person's tries are their own"


@pytest.mark.slow
def test_without_a_trusted_proxy_a_forged_address_changes_nothing(site: Site) -> None:
    wrong: dict[str, str | list[str]] = {"email": PEOPLE["owner"], "password": "wrong"}
    client = site.client()
    statuses = [post(client, "/sign-in", wrong, X_Forwarded_For=f"203.0.113.{n}").status_code for n in range(11)]
    assert statuses[-1] == 429


def test_a_body_that_is_too_large_is_refused_in_words(site: Site) -> None:
    client = site.client("owner")
    token = token_of(client, "/domains")
    answer = client.post("/domains", data={"csrf_token": token, "names": "a" * (3 * 1024 * 1024)})
    assert answer.status_code == 413
    assert "Nothing was added" in answer.text
    assert "10,000 lines" in answer.text
    notice = client.post("/domains", data={"names": "a" * (3 * 1024 * 1024)}, headers={"HX-Request": "true", "X-CSRFToken": token})
    assert (notice.status_code, notice.headers["HX-Retarget"]) == (413, "#notices")
    assert "<html" not in notice.text


@pytest.mark.slow
def test_reading_pages_changes_nothing(site: Site) -> None:
    site.add("a.example", "b.example")
    before = _dump(site.sessions)
    client = site.client("owner")
    for path in ("/", "/domains?q=a", "/domains/rows?ref=x", "/bin", "/certificates", "/mails", "/sign-in", "/setup/x", "/ui"):
        client.get(path)
    assert _dump(site.sessions) == before


def _dump(sessions: Sessions) -> list[str]:
    path = Path(str(sessions.engine.url.database))
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
