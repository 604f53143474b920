"""The pages of those who run the installation: what they tell, what they never tell, and what auditors may not do."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

import wsgi
from config import Settings
from core.actions.accounts import create_user
from core.actions.heartbeats import beat
from core.actions.letters import write_letter
from core.store.accounts import Account, LoginSession, User
from core.store.disablings import UserDisabling
from core.store.endpoints import Schedule
from core.store.incidents import Notice
from core.store.letters import Letter
from tests.make import NOW, TERMINAL
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, forget_tries, post
from tests.portal.test_endpoints import assert_only_our_markup
from tests.portal.test_mails import _tell

PAGES = ("accounts", "users", "workers", "mails", "status", "log", "settings")
REASON = "They ask why their shop is not reached"


def run_by(site: Site, who: str, role: str = "operator") -> FlaskClient:
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.id == site.actors[who].user_id).values(installation_role=role))
    return site.client(who)


def lose(site: Site, outcome: str, error: str, **words: str) -> None:
    with site.sessions.writing() as session:
        write_letter(
            session,
            "told",
            email="gone@example.org",
            lasts=timedelta(days=1),
            now=NOW,
            account_id=site.actors["owner"].account_id,
            words=words,
        )
        letter = session.scalars(sa.select(Letter).order_by(Letter.id.desc()).limit(1)).one()
        letter.outcome, letter.last_error, letter.attempts, letter.ended_at = outcome, error, 3, NOW if outcome else None


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<wbr>|</?bdi>", "", page)).replace("\u00a0", " ").split())


@pytest.mark.slow
def test_each_page_tells_what_is_and_never_a_tenant_s_names(make_site: MakeSite) -> None:
    given = {
        "KEYCHEST_SMTP_URL": "smtp://canary:canary@mail.example.net:25", "REDIS_URL": "redis://:canary@127.0.0.1:6379/0",
        "DATABASE_URL": "sqlite:////canary/x.db", "KEYCHEST_SECRET_KEY": "canary" * 8, "KEYCHEST_SCAN_INTERVAL_S": "77",
        "KEYCHEST_BACKUP_TARGETS": "s3://canary/canary",
    }  # fmt: skip
    site = make_site(settings=wsgi.shown(Settings.from_environment(given)))
    _tell(site, "canary.example")
    lose(site, "failed", "550 5.1.1 User unknown", subject="You are an owner of example.org now", text="canary")
    with site.sessions.writing() as session:
        session.execute(sa.update(Notice).values(attempts=1, last_error="451 try again", message="canary", subject="canary", body="canary"))
        session.execute(sa.update(Schedule).values(next_scan_at=NOW - timedelta(hours=2), lease_until=None))
        beat(session, "clock", pid=1, now=NOW + timedelta(seconds=30))
        beat(session, "worker.scan", pid=1, now=NOW - timedelta(hours=3))
    client = run_by(site, "stranger")
    account, user = site.actors["owner"].account_ref, site.actors["viewer"].user_ref
    told = {name: client.get(f"/operations/{name}") for name in (*PAGES, f"accounts/{account}", f"users/{user}")}
    for name, answer in told.items():
        assert answer.status_code == 200, name
        assert "canary" not in text_of(answer.text), name
    page = {name: text_of(answer.text) for name, answer in told.items()}
    assert re.search(r"example\.org</a>.*?There.*?>3<.*?>1<", page["accounts"])
    assert "mira@example.org" in page[f"accounts/{account}"]
    assert "1 name watched" in page[f"accounts/{account}"]
    assert "Operator of the installation" in page["users"]
    assert "1 browser" in page[f"users/{user}"]
    assert "5 processes without a sign of life." in page["workers"]
    assert page["workers"].count("Silent") == 5
    assert re.search(r"Scans that are due.*?>1<.*?Late", page["workers"])
    assert "The broker does not answer" in page["workers"]
    assert "550 5.1.1 User unknown" in page["mails"]
    assert "Not sent" in page["mails"]
    assert page["mails"].count("451 try again") == 3
    assert "A certificate has ended" in page["mails"]
    assert "77" in page["settings"]
    assert page["settings"].count("Set, hidden") == 5


@pytest.mark.slow
@pytest.mark.parametrize(("role", "acts"), [("operator", True), ("auditor", False)])
def test_auditors_see_the_same_and_are_drawn_no_button(site: Site, role: str, acts: bool) -> None:
    client = run_by(site, "stranger", role)
    assert 'href="/operations/accounts"' in client.get("/").text
    assert "/operations" not in site.client("owner").get("/").text
    account, user = site.actors["owner"].account_ref, site.actors["viewer"].user_ref
    assert (f"/operations/accounts/{account}/look" in client.get(f"/operations/accounts/{account}").text) is acts
    page = client.get(f"/operations/users/{user}").text
    assert (f"/operations/users/{user}/disable" in page) is acts
    assert (f"/operations/users/{user}/role" in page) is acts
    own = client.get(f"/operations/users/{site.actors['stranger'].user_ref}").text
    assert "/disable" not in own


@pytest.mark.slow
def test_accounts_and_users_are_sought_and_turned_over(site: Site) -> None:
    client = run_by(site, "stranger")
    with site.sessions.writing() as session:
        for number in range(52):
            create_user(
                session, TERMINAL, email=f"p{number:02}@team{number:02}.example", operator=False, now=NOW + timedelta(seconds=number % 3)
            )
        session.execute(sa.update(Account).where(Account.name == "team07.example").values(deleted_at=NOW, name="100%_<b>"))
    for kind, count in (("accounts", 54 + 2), ("users", 56)):
        seen: list[str] = []
        path = f"/operations/{kind}"
        while path:
            page = client.get(path).text
            seen += re.findall(rf'href="/operations/{kind}/(\w+)"', page)
            more = re.search(r'href="([^"]+)">Next page', page)
            path = html.unescape(more[1]) if more else ""
        assert len(seen) == len(set(seen)) == count
    found = {text: client.get("/operations/accounts", query_string={"q": text}).text for text in ("%_<", "P51@", "vera@", "zzz")}
    assert "In the bin" in found["%_<"]
    assert [page.count('role="rowheader"') for page in found.values()] == [1, 1, 1, 0]
    assert "No account matches" in found["zzz"]
    users = {text: client.get("/operations/users", query_string={"q": text}).text for text in ("team51", "operator", "%")}
    assert [page.count('role="rowheader"') for page in users.values()] == [1, 1, 0]
    assert client.get("/operations/users?after=nonsense").status_code == 200


@pytest.mark.slow
def test_who_is_disabled_is_out_at_once_and_answered_as_for_a_wrong_password_by_the_same_work(site: Site) -> None:
    client, ref = run_by(site, "stranger"), site.actors["viewer"].user_ref
    assert post(client, f"/operations/users/{ref}/disable").status_code == 303
    page = text_of(client.get(f"/operations/users/{ref}").text)
    assert "Nothing lets them in" in page
    assert "by eve@elsewhere.example" in page
    assert site.client("viewer").get("/domains").status_code == 303
    asked: list[tuple[int, str, int]] = []
    for email, password in ((PEOPLE["viewer"], PASSWORD), (PEOPLE["owner"], "not the password"), ("verx@example.org", PASSWORD)):
        statements: list[str] = []

        def note(_c: object, _u: object, statement: str, *_: object, into: list[str] = statements) -> None:
            into.append(statement)

        forget_tries()
        door = site.client()
        door.get("/sign-in")
        sa.event.listen(site.sessions.engine, "before_cursor_execute", note)
        answer = post(door, "/sign-in", {"email": email, "password": password})
        sa.event.remove(site.sessions.engine, "before_cursor_execute", note)
        cleaned = re.sub(r'content="[^"]{40,}"|value="[^"]{40,}"', "", answer.text.replace(email, "E"))
        asked.append((answer.status_code, cleaned, len(statements)))
    assert asked[0] == asked[1] == asked[2]
    assert asked[0][0] == 422
    post(client, f"/operations/users/{ref}/enable")
    assert site.client("viewer").get("/domains").status_code == 303  # the sign-in of before is over
    assert post(site.client(), "/sign-in", {"email": PEOPLE["viewer"], "password": PASSWORD}).status_code == 303


@pytest.mark.slow
def test_an_operator_is_made_with_the_password_and_oneself_is_not_disabled(site: Site) -> None:
    client, ref = run_by(site, "stranger"), site.actors["manager"].user_ref
    wrong = post(client, f"/operations/users/{ref}/role", {"role": "operator", "proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    assert '<option value="operator" selected>' in wrong.text
    own = post(client, f"/operations/users/{site.actors['stranger'].user_ref}/disable")
    assert own.status_code == 422
    assert "You cannot disable yourself" in own.text
    assert post(client, f"/operations/users/{ref}/role", {"role": "operator", "proof": PASSWORD}).status_code == 303
    assert site.client("manager").get("/operations/users").location == "/sign-in?next=%2Foperations%2Fusers", "they sign in anew"
    forget_tries()
    anew = site.client()
    assert post(anew, "/sign-in", {"email": PEOPLE["manager"], "password": PASSWORD}).status_code == 303
    assert anew.get("/operations/users").status_code == 200
    gone = post(client, f"/operations/users/{site.actors['stranger'].user_ref}/role", {"role": "", "proof": PASSWORD})
    assert gone.location == "/"
    assert client.get("/operations/users").status_code == 403


@pytest.mark.slow
def test_an_operator_looks_at_an_account_and_its_owners_are_told_for_a_week(make_site: MakeSite) -> None:
    at = [NOW + timedelta(minutes=1)]
    site = make_site(now=lambda: at[0])
    site.add("canary.example")
    client, ref = run_by(site, "stranger"), site.actors["owner"].account_ref
    short = post(client, f"/operations/accounts/{ref}/look", {"reason": "because", "proof": PASSWORD})
    assert short.status_code == 422
    assert "Say why, in 10 to 300 characters" in short.text
    assert "canary" not in client.get("/domains").text
    assert post(client, f"/operations/accounts/{ref}/look", {"reason": f"{REASON} <b>", "proof": PASSWORD}).status_code == 303
    page = text_of(client.get("/domains").text)
    assert "canary.example" in page
    assert "You look at example.org as its viewer until" in page
    assert "23 Nov 2026, 09:31" in page
    assert f"Reason: {REASON} <b>" in page
    assert 'name="names"' not in page
    assert "You look at example.org as its viewer" in text_of(client.get("/security").text)
    for who, told in (("owner", True), ("manager", False), ("viewer", False)):
        assert ("An operator looks at this account" in site.client(who).get("/").text) is told, who
    at[0] += timedelta(minutes=30)
    assert "canary" not in client.get("/domains").text
    with site.sessions.writing() as session:
        session.execute(sa.update(LoginSession).values(expires_at=NOW + timedelta(days=30)))
    at[0] += timedelta(days=6)
    assert "An operator looked at this account" in site.client("owner").get("/").text
    at[0] += timedelta(days=2)
    assert "An operator looked" not in site.client("owner").get("/").text


def test_in_production_it_rests_without_a_second_factor(make_site: MakeSite) -> None:
    site = make_site(production=True)
    client = run_by(site, "stranger")
    answer = post(client, f"/operations/accounts/{site.actors['owner'].account_ref}/look", {"reason": REASON, "proof": PASSWORD})
    assert answer.status_code == 403
    assert client.get("/operations/users").status_code == 403


def test_letters_that_did_not_arrive_are_told_to_the_account_s_owners(site: Site) -> None:
    lose(site, "unsure", "", subject="You are an owner now")
    lose(site, "", "451 4.7.1 Greylisted", subject="You are a viewer now")
    page = text_of(site.client("owner").get("/mails").text)
    assert "You are an owner now" in page
    assert "Not certain" in page
    assert "451 4.7.1 Greylisted" in page
    for who in ("manager", "viewer", "stranger"):
        assert "You are an owner now" not in text_of(site.client(who).get("/mails").text), who


@pytest.mark.slow
def test_attempts_in_ones_name_are_counted_and_the_newest_are_shown(site: Site) -> None:
    for _ in range(7):
        forget_tries()
        post(site.client(), "/sign-in", {"email": PEOPLE["viewer"], "password": "wrong"})
    page = text_of(site.client("viewer").get("/security").text)
    assert "7 times in 90 days" in page
    assert page.count("Somebody typed a wrong password") == 5
    assert '<span class="mono">127.0.0.0/24</span>' in page
    assert "Tried in your name" not in site.client("owner").get("/security").text


@pytest.mark.slow
def test_naughty_strings_stay_text(site: Site, shared: Path) -> None:
    client = run_by(site, "stranger")
    strings = [text for text in json.loads((shared / "vectors/text/blns.json").read_text()) if text.strip()]
    words = "\n".join(strings).replace("\x00", "")
    lose(site, "failed", words[:400], subject=words)
    with site.sessions.writing() as session:
        session.execute(sa.update(Account).values(name=words[:2_000]))
        session.add(
            UserDisabling(user_id=site.actors["viewer"].user_id or 0, disabled_at=NOW, disabled_by=None, enabled_at=None, enabled_by=None)
        )
    ref, user = site.actors["owner"].account_ref, site.actors["viewer"].user_ref
    for path in ("mails", "accounts", f"accounts/{ref}", f"users/{user}"):
        page = client.get(f"/operations/{path}")
        assert page.status_code == 200
        assert_only_our_markup(page.text)
