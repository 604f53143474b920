"""The page of API tokens: shown once, listed, revoked."""

from __future__ import annotations

import re

import pytest

from tests.portal.conftest import Site, post

FORM: dict[str, str | list[str]] = {"name": "wall <b>", "days": "30", "scope": ["read:domains"]}


@pytest.mark.slow
def test_a_token_is_shown_once_works_and_is_revoked(site: Site) -> None:
    client = site.client("viewer")
    answer = post(client, "/tokens", FORM)
    shown = re.search(r'id="made" value="([^"]+)"', answer.text)
    assert shown is not None
    assert "it is not shown again" in answer.text
    page = client.get("/tokens").text
    assert shown[1] not in page
    assert shown[1][:11] in page
    assert "wall &lt;b&gt;" in page
    header = {"Authorization": f"Bearer {shown[1]}"}
    assert site.client().get("/api/v1/domains", headers=header).status_code == 200
    ref = re.findall(r'name="ref" value="([^"]+)"', page)[0]
    assert ref not in site.client("manager").get("/tokens").text
    for who in ("manager", "stranger"):
        assert post(site.client(who), "/tokens/revoke", {"ref": ref}).status_code == 404
    assert ref in site.client("owner").get("/tokens").text
    assert post(client, "/tokens/revoke", {"ref": ref}).status_code == 303
    assert "was revoked" in client.get("/tokens").text
    assert site.client().get("/api/v1/domains", headers=header).status_code == 401


def test_what_was_typed_stays_when_it_is_refused(site: Site) -> None:
    answer = post(site.client("owner"), "/tokens", {"name": "kept words", "days": "365"})
    assert answer.status_code == 422
    assert 'value="kept words"' in answer.text
    assert '<option value="365" selected>' in answer.text
    assert "at least one of these" in answer.text
    assert " checked" not in answer.text
