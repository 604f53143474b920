"""The team's page and the invitation's, as browsers use them."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from core.store.accounts import Membership, User, user_by_email
from portal import Parts
from tests.conftest import ROOT
from tests.portal.conftest import PASSWORD, Site, post


@pytest.fixture
def parts(parts: Parts) -> Parts:
    """No mail server is set: links are shown, to be passed on."""
    return replace(parts, mail_is_kept=True)


def link_from(page: str) -> str:
    found = re.search(r"<code>http://localhost(/invitation/[\w-]{43})</code>", page)
    assert found is not None
    return found[1]


def invite(site: Site, email: str, role: str = "viewer") -> str:
    answer = post(site.client("owner"), "/team/invite", {"email": email, "role": role, "days": "7"})
    assert answer.status_code == 200
    return link_from(answer.text)


def role_of(site: Site, email: str) -> list[str]:
    with site.sessions.reading() as session:
        of = sa.select(Membership.role).join(User, User.id == Membership.user_id).where(User.email == email)
        return list(session.scalars(of.where(Membership.deleted_at.is_(None)).order_by(Membership.id)))


@pytest.mark.slow
def test_somebody_new_joins_by_the_link_and_the_link_is_shown_once(site: Site) -> None:
    path = invite(site, "new@example.org", "manager")
    assert path not in site.client("owner").get("/team").text
    assert "new@example.org" in site.client("owner").get("/team").text
    visitor = site.app.test_client()
    assert "Choose a password" in visitor.get(path).text
    short = post(visitor, path, {"password": "short"})
    assert (short.status_code, "at least 12 characters" in short.text) == (422, True)
    assert role_of(site, "new@example.org") == []
    assert post(visitor, path, {"password": PASSWORD}).status_code == 303
    assert role_of(site, "new@example.org") == ["manager"]
    assert visitor.get("/team").status_code == 200
    assert site.app.test_client().get(path).status_code == 404


def test_a_link_gives_no_more_than_was_offered(site: Site) -> None:
    path = invite(site, "new@example.org")
    more: dict[str, str | list[str]] = {"role": "owner", "email": "other@example.org", "installation_role": "operator"}
    post(site.app.test_client(), path, {"password": PASSWORD, **more})
    with site.sessions.reading() as session:
        user = user_by_email(session, "new@example.org")
        assert user is not None
        assert (user.installation_role, user_by_email(session, "other@example.org")) == ("", None)
    assert role_of(site, "new@example.org") == ["viewer"]


@pytest.mark.slow
def test_who_is_a_user_already_signs_in_and_comes_back(site: Site) -> None:
    path = invite(site, "eve@elsewhere.example")
    nobody = site.app.test_client()
    page = nobody.get(path).text
    assert f"/sign-in?next={path}" in page
    assert "Choose a password" not in page
    assert post(nobody, path, {"password": PASSWORD}).status_code == 422
    stranger: FlaskClient = site.client("stranger")
    assert post(stranger, path).status_code == 303
    assert role_of(site, "eve@elsewhere.example") == ["owner", "viewer"]
    assert "mira@" in stranger.get("/team").text
    back = post(stranger, "/team/switch", {"ref": site.actors["stranger"].account_ref})
    assert back.status_code == 303
    assert "You are looking at elsewhere.example now." in stranger.get("/").text


@pytest.mark.slow
def test_another_s_invitation_is_not_taken_by_who_is_signed_in(site: Site) -> None:
    path = invite(site, "new@example.org")
    assert "You are signed in as" in site.client("stranger").get(path).text
    refused = post(site.client("stranger"), path)
    assert refused.status_code == 422
    assert "Nothing was changed" in refused.text
    assert role_of(site, "eve@elsewhere.example") == ["owner"]


@pytest.mark.slow
def test_removing_and_bringing_back(site: Site) -> None:
    owner, manager = site.client("owner"), site.client("manager")
    ref = site.actors["manager"].user_ref
    assert manager.get("/domains").status_code == 200
    assert post(owner, "/team/remove", {"ref": ref}).status_code == 303
    page = owner.get("/team").text
    assert "can be brought back for 30 days" in page
    assert "Left in the last 30 days" in page
    away = manager.get("/domains")
    assert (away.status_code, "You belong to no account" in away.text) == (403, True)
    assert manager.get("/security").status_code == 200
    assert post(owner, "/team/restore", {"ref": ref}).status_code == 303
    assert role_of(site, "max@example.org") == ["manager"]


@pytest.mark.slow
def test_the_last_owner_is_told_and_stays(site: Site) -> None:
    data: dict[str, str | list[str]] = {"ref": site.actors["owner"].user_ref, "role": "viewer"}
    for path in ("/team/leave", "/team/role"):
        answer = post(site.client("owner"), path, data)
        assert (answer.status_code, "would have no owner" in answer.text) == (422, True)
    assert role_of(site, "mira@example.org") == ["owner"]


@pytest.mark.slow
def test_who_may_not_decide_is_drawn_no_button_and_sees_no_invitation(site: Site) -> None:
    invite(site, "secret-guest@example.org")
    for who in ("manager", "viewer"):
        page = site.client(who).get("/team").text
        assert "mira@" in page
        assert "secret-guest" not in page
        assert not [path for path in ("/team/role", "/team/remove", "/team/invite", "/team/withdraw") if f'action="{path}"' in page]
    stranger = site.client("stranger").get("/team").text
    assert "mira@" not in stranger


def test_typed_words_stay_in_the_form(site: Site) -> None:
    answer = post(site.client("owner"), "/team/invite", {"email": "not an address", "role": "manager", "days": "30"})
    assert answer.status_code == 422
    assert 'value="not an address"' in answer.text
    assert '<option value="manager" selected>' in answer.text
    assert '<option value="30" selected>' in answer.text
    odd = post(site.client("owner"), "/team/invite", {"email": "a@example.org", "role": "manager", "days": "⁷"})
    assert (odd.status_code, "1, 7 or 30 days" in odd.text) == (422, True)


@pytest.mark.slow
def test_the_page_shows_the_policy_table(site: Site) -> None:
    page = unescape(site.client("viewer").get("/team").text)
    for line in (ROOT / "docs" / "roles.md").read_text().split("## On the installation")[0].splitlines():
        if line.startswith("| ") and "---" not in line and not line.startswith("| may"):
            assert line.split("|")[1].strip() in page
