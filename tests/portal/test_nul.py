"""A NUL, which PostgreSQL takes in no text, is answered in words wherever it comes in."""

import pytest

from tests.portal.conftest import MakeSite, Site, post
from tests.postgres import Postgres

DIGEST = "0" * 64
READ = (
    "/domains?q=%00",
    "/domains?sort=name&after=a%00~ref",
    "/domains?q=a&q=%00",
    "/domains/rows?ref=%00",
    "/endpoints/%00",
    "/bin?after=1~%00",
    "/certificates/?after=2026-01-01T00:00:00~%00",
    f"/certificates/{DIGEST}%00",
    "/mails?after=1~%00",
    "/setup/%00",
    "/static/%00",
)
SENT: tuple[tuple[str, dict[str, str | list[str]]], ...] = (
    ("/sign-in", {"email": "a\0b", "password": "x"}),
    ("/sign-in", {"email": "a@example.org", "password": "x\0"}),
    ("/domains/remove", {"ref": ["one", "\0"]}),
    ("/domains/restore", {"ref": "\0"}),
    ("/domains/check", {"ref": "\0"}),
    ("/domains?q=%00", {"names": "a.example"}),
    ("/endpoints/%00/scan", {}),
    ("/setup/x", {"email": "a\0@example.org", "password": "four or five words"}),
    ("/welcome/%00", {"password": "four or five words"}),
)


def look_everywhere(site: Site) -> None:
    client = site.client("owner")
    for path in READ:
        answer = client.get(path)
        assert (path, answer.status_code) == (path, 400)
        assert "invisible NUL character" in answer.text
    for path, data in SENT:
        answer = post(client, path, data)
        assert (path, data, answer.status_code) == (path, data, 400)
        assert "Nothing was changed" in answer.text
    listed = post(client, "/domains", {"names": "a.example\nb\0.example"})
    assert (listed.status_code, "There is an invisible character in this name: U+0000" in listed.text) == (422, True)
    assert client.get("/domains?q=a").status_code == 200


@pytest.mark.slow
def test_a_nul_is_refused_in_words(site: Site) -> None:
    look_everywhere(site)


def test_to_htmx_it_is_told_in_a_notice(site: Site) -> None:
    notice = site.client("owner").get("/domains?q=%00", headers={"HX-Request": "true"})
    assert (notice.status_code, notice.headers["HX-Retarget"]) == (400, "#notices")
    assert "invisible NUL character" in notice.text


@pytest.mark.slow
def test_a_nul_is_refused_in_words_on_postgresql(make_site: MakeSite, postgres: Postgres) -> None:
    look_everywhere(make_site(database_url=postgres.database()))
