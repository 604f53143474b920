"""A person's own sign-ins and password: seen, ended and changed by themselves and by nobody else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from core.store.accounts import LoginSession
from portal.callers import browser_of
from tests.portal.conftest import PASSWORD, PEOPLE, Site, post

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
NEW = "quiet harbour nine lanterns"


def sign_in(site: Site, password: str = PASSWORD, status: int = 303) -> FlaskClient:
    client = site.client()
    answer = post(client, "/sign-in", {"email": PEOPLE["viewer"], "password": password}, User_Agent=FIREFOX)
    assert answer.status_code == status
    return client


def is_in(client: FlaskClient) -> bool:
    return client.get("/domains").status_code == 200


def refs(client: FlaskClient) -> list[str]:
    """Those of other sign-ins that can be ended."""
    return re.findall(r'name="ref" value="([^"]+)"', client.get("/security").text)


@pytest.mark.slow
def test_each_sign_in_is_listed_and_one_of_them_is_ended(site: Site) -> None:
    mine, other, third = site.client("viewer"), sign_in(site), sign_in(site)
    page = mine.get("/security").text
    assert page.count("<b>Firefox on Linux</b>") == 2
    assert page.count("127.0.0.0/24") == 2
    assert page.count("This one") == 1
    assert len(set(refs(mine))) == 2
    assert post(mine, "/security/end", {"ref": refs(mine)[1:]}).status_code == 303  # newest first: the elder of the two
    after = mine.get("/security").text
    assert "1 sign-in ended." in after.replace("\u00a0", " ")
    assert (is_in(mine), is_in(other), is_in(third)) == (True, False, True)
    assert after.count("It has ended.") == 1


@pytest.mark.slow
def test_all_others_are_ended_at_once_and_ones_own_stays(site: Site) -> None:
    mine, others = site.client("viewer"), [sign_in(site), sign_in(site)]
    post(mine, "/security/end", {"others": "1"})
    assert is_in(mine)
    assert [is_in(other) for other in others] == [False, False]
    assert "End all others" not in mine.get("/security").text


@pytest.mark.slow
def test_nobody_ends_what_is_a_stranger_s(site: Site) -> None:
    mine, other = site.client("viewer"), sign_in(site)
    stranger = site.client("stranger")
    post(stranger, "/security/end", {"ref": refs(mine)})
    assert "Nothing was ended" in stranger.get("/security").text
    post(stranger, "/security/end", {"others": "1"})
    assert is_in(mine)
    assert is_in(other)
    assert "Firefox on Linux" not in stranger.get("/security").text


@pytest.mark.slow
def test_a_changed_password_ends_every_other_sign_in_and_the_old_one_is_worth_nothing(site: Site) -> None:
    mine, other = site.client("viewer"), sign_in(site)
    answer = post(mine, "/security/password", {"current": PASSWORD, "password": NEW})
    assert answer.status_code == 303
    assert "Every other sign-in has ended." in mine.get("/security").text
    assert is_in(mine)
    assert not is_in(other)
    sign_in(site, PASSWORD, status=422)
    assert is_in(sign_in(site, NEW))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("current", "password", "words"),
    [("wrong", NEW, "This is not your password as it is now"), (PASSWORD, "short", "at least 12 characters"), ("", "", "at least 12")],
)
def test_a_wrong_or_weak_one_changes_nothing_and_is_told(site: Site, current: str, password: str, words: str) -> None:
    mine, other = site.client("viewer"), sign_in(site)
    answer = post(mine, "/security/password", {"current": current, "password": password})
    assert answer.status_code == 422
    assert words in answer.text
    assert is_in(other)
    sign_in(site, PASSWORD)


def test_the_demonstration_s_password_stays(site: Site) -> None:
    wiring = site.app.extensions["keychest"]
    site.app.extensions["keychest"] = replace(wiring, parts=replace(wiring.parts, demo=("demo@example.org", PASSWORD)))
    answer = post(site.client("viewer"), "/security/password", {"current": PASSWORD, "password": NEW})
    assert answer.status_code == 422
    assert "This is a demonstration: its password stays" in answer.text
    sign_in(site, PASSWORD)


def test_what_a_browser_says_of_itself_is_text_and_cut(site: Site) -> None:
    client = site.client()
    post(client, "/sign-in", {"email": PEOPLE["viewer"], "password": PASSWORD}, User_Agent="<b>Firefox/</b>" + "x" * 9_000)
    assert "<b>Firefox/" not in client.get("/security").text
    with site.sessions.reading() as session:
        assert set(session.scalars(sa.select(LoginSession.browser))) == {"", "Firefox"}


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.9", "curl"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_browsers_are_known_by_name(agent: str, words: str) -> None:
    assert browser_of(agent) == words


@pytest.mark.slow
def test_times_and_dates_are_shown_as_their_person_chose(site: Site) -> None:
    client = site.client("owner")
    assert "23 Nov 2026, 09:00" in client.get("/security").text
    assert post(client, "/security/dates", {"time_zone": "Asia/Tokyo", "dates": "de"}).status_code == 303
    page = client.get("/security").text
    assert "23.11.2026, 18:00" in page
    assert "Times are Asia/Tokyo" in page
    assert "23 Nov 2026, 09:00" in site.client("viewer").get("/security").text, "nobody else is concerned"
    refused = post(client, "/security/dates", {"time_zone": "Moon/Tycho", "dates": "de"})
    assert refused.status_code == 422
    assert "no such time zone" in refused.text
