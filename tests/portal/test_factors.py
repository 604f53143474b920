"""The second factor as browsers use it, and that half a sign-in opens nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from core.store.accounts import User
from tests.make import NOW
from tests.people import shown
from tests.portal.conftest import PASSWORD, PEOPLE, Site, forget_tries, post
from tests.portal.test_gate import MATRIX, WHO, filled, served

AT = NOW + timedelta(minutes=1)
LATER = AT + timedelta(seconds=30)


def with_app(site: Site) -> tuple[str, list[str]]:
    """The owner's app: its secret, and the recovery codes."""
    client = site.client("owner")
    assert post(client, "/security/app/begin", {"proof": PASSWORD}).status_code == 303
    page = client.get("/security/app").text
    assert "<svg" in page
    secret = "".join(re.findall(r'<code class="fp">([A-Z2-7 ]+)</code>', page)[0].split())
    wrong = post(client, "/security/app/confirm", {"code": "000000"})
    assert wrong.status_code == 422
    assert "not the code that your app shows" in html.unescape(wrong.text)
    answer = post(client, "/security/app/confirm", {"code": shown(secret, AT)})
    codes = re.findall(r"<li>([a-z2-7]{4}(?:-[a-z2-7]{4}){3})</li>", answer.text)
    assert len(codes) == 10
    assert not [code for code in codes if code in client.get("/security/app").text], "shown once"
    return secret, codes


def half_in(site: Site, **more: str) -> FlaskClient:
    client = site.client()
    answer = post(client, "/sign-in", {"email": PEOPLE["owner"], "password": PASSWORD, "next": "/bin", **more})
    assert answer.location == "/sign-in/code?next=%2Fbin"
    return client


@pytest.mark.slow
def test_password_and_code_together_sign_in_and_go_where_one_was_going(make_site: Callable[..., Site]) -> None:
    secret, _ = with_app(make_site())
    site = make_site(now=lambda: LATER)
    client = half_in(site)
    assert 'value="/bin"' in client.get("/sign-in/code?next=/bin").text
    wrong = post(client, "/sign-in/code", {"code": "000000", "next": "/bin"})
    assert wrong.status_code == 422
    assert "not right, or was used before" in wrong.text
    assert post(client, "/sign-in/code", {"code": shown(secret, LATER), "next": "/bin"}).location == "/bin"
    assert client.get("/domains").status_code == 200
    again = half_in(site)
    assert post(again, "/sign-in/code", {"code": shown(secret, LATER)}).status_code == 422, "used"


@pytest.mark.slow
def test_a_recovery_code_signs_in(make_site: Callable[..., Site]) -> None:
    site = make_site()
    _, codes = with_app(site)
    client = half_in(site)
    assert post(client, "/sign-in/code", {"code": codes[0]}).location == "/"
    assert "9 of 10 recovery codes are left" in client.get("/security/app").text


@pytest.mark.slow
def test_half_a_sign_in_reaches_what_nobody_reaches_on_every_route(make_site: Callable[..., Site]) -> None:
    site = make_site()
    with_app(site)
    ref, digest = served(site)
    data: dict[str, str | list[str]] = {"ref": [ref], "names": "new.example", "email": "x@example.org", "password": "wrong"}
    for (method, rule), statuses in MATRIX.items():
        if rule.startswith("/sign-in"):
            continue  # where it gets further
        forget_tries()
        client = half_in(site)
        forget_tries()
        path = filled(rule, ref, digest)
        answer = client.get(path, buffered=True) if method == "GET" else post(client, path, data)
        assert answer.status_code == statuses[WHO.index("nobody")], f"{method} {path}"


@pytest.mark.slow
def test_after_five_tries_one_begins_anew(make_site: Callable[..., Site]) -> None:
    site = make_site()
    secret, _ = with_app(site)
    forget_tries()
    client = half_in(site)
    for _ in range(5):
        forget_tries()
        assert post(client, "/sign-in/code", {"code": "000000"}).status_code == 422
    forget_tries()
    assert post(client, "/sign-in/code", {"code": shown(secret, LATER)}).location == "/sign-in"
    assert client.get("/sign-in/code").location == "/sign-in"
    assert "tried too often" in client.get("/sign-in").text


@pytest.mark.slow
def test_it_is_given_up_by_the_password(make_site: Callable[..., Site]) -> None:
    site = make_site()
    with_app(site)
    forget_tries()
    client = site.client("owner")
    wrong = post(client, "/security/app/remove", {"proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    fresh = post(client, "/security/app/codes", {"codes_proof": PASSWORD})
    assert "Your recovery codes" in fresh.text
    assert post(client, "/security/app/remove", {"proof": PASSWORD}).status_code == 303
    assert "Your password alone signs you in" in client.get("/security/app").text
    assert post(site.client(), "/sign-in", {"email": PEOPLE["owner"], "password": PASSWORD}).location == "/"


@pytest.mark.slow
def test_lost_keys_are_told_and_nobody_gets_in_without(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site()
    secret, codes = with_app(site)
    (tmp_path / "wrapping-keys").unlink()
    forget_tries()
    client = half_in(site)
    answer = post(client, "/sign-in/code", {"code": shown(secret, LATER)})
    assert answer.status_code == 503
    assert "does not open" in answer.text
    assert post(client, "/sign-in/code", {"code": codes[0]}).location == "/", "a recovery code needs none"


def test_a_demonstration_has_none(make_site: Callable[..., Site]) -> None:
    refused = post(make_site(demo=("a@example.org", "x")).client("owner"), "/security/app/begin", {"proof": PASSWORD})
    assert refused.status_code == 422
    assert "demonstration" in refused.text


@pytest.mark.slow
@pytest.mark.parametrize(("stay", "lasts"), [("", timedelta(hours=12)), ("1", timedelta(days=14))])
def test_who_asks_stays_signed_in_and_others_are_for_a_day(make_site: Callable[..., Site], stay: str, lasts: timedelta) -> None:
    site = make_site()
    client = site.client()
    data: dict[str, str | list[str]] = {"email": PEOPLE["owner"], "password": PASSWORD}
    answer = post(client, "/sign-in", data | ({"stay": stay} if stay else {}))
    cookie = answer.headers["Set-Cookie"]
    assert ("Expires=" in cookie) == bool(stay), "the browser forgets what is for a day"
    with client.session_transaction() as session:
        token = session["_user_id"]
    for at, status in ((AT + lasts - timedelta(seconds=1), 200), (AT + lasts, 303)):
        later = make_site(now=lambda at=at: at)
        later.tokens["owner"] = token
        assert later.client("owner").get("/domains").status_code == status, at


@pytest.mark.slow
@pytest.mark.parametrize("role", ["operator", "auditor"])
def test_in_production_a_role_on_the_installation_rests_until_there_is_a_factor(make_site: Callable[..., Site], role: str) -> None:
    site = make_site(production=True)
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.email == PEOPLE["owner"]).values(installation_role=role))
    client = site.client("owner")
    refused = client.get("/backups")
    assert refused.status_code == 403
    assert "needs a second factor" in refused.text
    assert post(client, "/backups/now").status_code == 403
    page = client.get("/domains")
    assert page.status_code == 200, "their own account stays open"
    assert "You need a second factor" in page.text
    assert "/backups" not in page.text
    with_app(site)
    assert client.get("/backups").status_code == 200
    assert "You need a second factor" not in client.get("/domains").text
    assert make_site().client("owner").get("/backups").status_code == 200
