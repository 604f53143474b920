"""The page about the account: named, left without, brought back, and what resting members see."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.factors import begin_app, confirm_app
from core.store.account_rules import AccountRules
from core.store.watches import Watch
from tests.make import NOW
from tests.people import proof, shown
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, forget_tries, post

AT = NOW + timedelta(minutes=1)


def test_an_owner_names_it_and_others_are_told_who_may(site: Site) -> None:
    client = site.client("owner")
    assert post(client, "/account/name", {"name": "<b>Harbour</b>"}).status_code == 303
    page = client.get("/account").text
    assert "&lt;b&gt;Harbour" in page
    assert "<b>Harbour" not in page
    wrong = post(client, "/account/name", {"name": "x" * 101})
    assert wrong.status_code == 422
    assert "1 to 100 characters" in wrong.text
    assert "x" * 101 in wrong.text, "what was typed is kept"
    viewers = site.client("viewer").get("/account").text
    assert "You are a viewer here" in viewers
    assert "Remove the account" not in viewers


@pytest.mark.slow
def test_removing_it_waits_for_a_second_person_and_comes_back_whole(site: Site) -> None:
    site.add("a.example", "b.example")
    client, manager = site.client("owner"), site.client("manager")
    wrong = post(client, "/account/remove", {"remove_proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    asked = post(client, "/account/remove", {"remove_proof": PASSWORD})
    assert asked.location == "/approvals"
    assert client.get("/domains").status_code == 200, "nothing happened yet"
    page = manager.get("/approvals").text
    assert "The whole account" in page
    ref = re.findall(r'/approvals/approve">.*?name="ref" value="([^"]+)"', page)[0]
    assert post(manager, "/approvals/approve", {"ref": ref}).location == "/account"
    after = manager.get("/account").text
    assert "You belong to no account at the moment" in after
    assert "Bring back" not in after, "an owner alone does that"
    refused = client.get("/domains")
    assert refused.status_code == 403
    assert 'href="/account">Your accounts<' in refused.text
    mine = client.get("/account").text
    assert "In the bin" in mine
    binned = re.findall(r'/account/restore">.*?name="ref" value="([^"]+)"', mine, re.DOTALL)[0]
    assert post(site.client("stranger"), "/account/restore", {"ref": binned}).status_code == 422
    assert post(client, "/account/restore", {"ref": binned}).location == "/domains"
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Watch).where(Watch.deleted_at.is_(None))) == 2
    assert client.get("/domains").status_code == 200
    assert manager.get("/domains").status_code == 200


def test_another_account_is_made_where_everybody_may(make_site: MakeSite) -> None:
    refused = post(make_site().client("owner"), "/account/new", {"new_name": "Second"})
    assert refused.status_code == 422
    assert "by the operator of this installation" in refused.text
    client = make_site(sign_up="open").client("owner")
    assert post(client, "/account/new", {"new_name": "Second"}).location == "/domains"
    assert "Second" in client.get("/account").text


@pytest.mark.slow
def test_members_without_a_factor_rest_where_it_is_asked_for(site: Site) -> None:
    client = site.client("owner")
    refused = post(client, "/account/factor", {"factor_proof": PASSWORD, "on": "1"})
    assert "lock yourself out" in refused.text
    add_app(site)
    assert post(client, "/account/factor", {"factor_proof": PASSWORD, "on": "1"}).status_code == 303
    assert "2\u00a0members without one" in client.get("/account").text
    viewer = site.client("viewer")
    for path in ("/", "/domains", "/team", "/certificates/", "/bin"):
        told = viewer.get(path)
        assert told.status_code == 403, path
        assert "asks its members for a second factor" in told.text
        assert 'href="/security/app">Set one up<' in told.text
    for path in ("/security", "/security/app", "/account"):
        assert viewer.get(path).status_code == 200, path
    assert client.get("/domains").status_code == 200
    forget_tries()
    assert post(client, "/account/factor", {"factor_proof": PASSWORD, "on": "0"}).status_code == 303
    assert viewer.get("/domains").status_code == 200
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(AccountRules.factor_since)).one() is None


def add_app(site: Site) -> None:
    """The owner sets an app up."""
    keys = site.app.extensions["keychest"].parts.keys
    checked = proof(site.sessions, PEOPLE["owner"], PASSWORD)
    with site.sessions.writing() as session:
        app = begin_app(session, site.actors["owner"], checked=checked, keys=keys, now=AT)
    with site.sessions.writing() as session:
        sign_in = session.execute(
            sa.text("SELECT id FROM login_sessions WHERE user_id = :id"), {"id": site.actors["owner"].user_id}
        ).scalar()
        confirm_app(session, site.actors["owner"], keys=keys, code=shown(app.secret, AT), keep=int(sign_in or 0), now=AT)
