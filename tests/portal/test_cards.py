"""Notes, tags and responsible people as browsers and programs see and change them."""

from __future__ import annotations

import html
import re

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from core.actions.api_tokens import make_token
from core.actions.cards import Bulk, edit_domains
from tests.make import NOW
from tests.portal.conftest import PEOPLE, Site, post
from tests.portal.test_domains import names_of


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<wbr>|<[^>]+>", lambda tag: "" if tag[0] == "<wbr>" else " ", page)).split())


def give(site: Site, refs: list[str], bulk: Bulk) -> None:
    with site.sessions.writing() as session:
        edit_domains(session, site.actors["owner"], refs=refs, bulk=bulk, now=NOW)


@pytest.mark.slow
def test_a_card_is_written_by_who_may_and_seen_by_who_belongs(site: Site) -> None:
    (ref,) = site.add("a.example")
    path, manager = f"/endpoints/{ref}", site.client("manager")
    who = site.actors["viewer"].user_ref
    typed: dict[str, str | list[str]] = {"note": "one <b>\r\n two\u202e", "tags": "Shop, team:web", "responsible": who, "version": "0"}
    saved = post(manager, f"{path}/card", typed)
    assert (saved.status_code, saved.location) == (303, f"{path}#card")
    page = manager.get(path).text
    assert "Note, tags and responsible person were saved." in page
    assert '<bdi>one &lt;b&gt;</bdi><br><bdi> two<span class="esc">U+202E</span></bdi>' in page
    assert '<a class="tag" href="/domains?tag=team%3Aweb"><bdi>team:web</bdi></a>' in page
    assert f'<option value="{who}" selected>' in page
    seen = site.client("viewer").get(path).text
    assert "shop team:web vera@example.org is responsible" in words(seen)
    assert f"{path}/card" not in seen
    assert post(site.client("viewer"), f"{path}/card", typed).status_code == 403
    assert post(site.client("stranger"), f"{path}/card", typed).status_code == 404
    assert "stood so already" in manager.get(post(manager, f"{path}/card", typed | {"version": "1"}).location).text


@pytest.mark.slow
def test_what_is_refused_or_written_over_comes_back_as_it_was_typed(site: Site) -> None:
    (ref,) = site.add("a.example")
    path = f"/endpoints/{ref}/card"
    mira, max_ = site.client("owner"), site.client("manager")
    bad = post(mira, path, {"note": "n" * 2_001, "tags": "x", "version": "0"})
    assert (bad.status_code, "The note has 2,001 characters" in bad.text, "n" * 2_001 in bad.text) == (422, True, True)
    bad = post(mira, path, {"note": "kept", "tags": "a, b|c", "version": "x"})
    assert (bad.status_code, "Tag 2 holds U+007C (VERTICAL LINE)" in bad.text) == (422, True)
    assert 'value="a, b|c"' in bad.text
    assert re.search(r"<textarea[^>]*>\nkept</textarea>", bad.text)
    assert 'aria-invalid="true"' in bad.text
    assert post(max_, path, {"note": "of Max", "tags": "his", "version": "0"}).status_code == 303
    late = post(mira, path, {"note": "of Mira", "tags": "hers", "version": "0"})
    assert late.status_code == 422
    assert "max@example.org changed this while you were writing. Nothing of yours was saved." in words(late.text)
    assert "Note of Max Tags his Responsible person Nobody" in words(late.text)
    assert re.search(r"<textarea[^>]*>\nof Mira</textarea>", late.text)
    again = re.findall(r'name="version" value="(\d+)"', late.text)
    assert again == ["1"]
    assert post(mira, path, {"note": "of Mira", "tags": "hers", "version": again[0]}).status_code == 303
    assert "of Mira" in max_.get(f"/endpoints/{ref}").text


@pytest.mark.slow
def test_the_list_shows_filters_and_edits_many(site: Site) -> None:
    refs = site.add(*(f"n{number}.example" for number in range(30)))
    client, max_ = site.client("owner"), site.actors["manager"].user_ref
    done = post(client, "/domains/edit", {"ref": refs[:28], "add": "shop", "responsible": max_, "q": "example", "sort": "name"})
    assert (done.status_code, done.location) == (303, "/domains?q=example&sort=name")
    page = client.get(done.location).text
    assert "Tagged 28\u00a0names: shop. max@example.org is responsible for 28\u00a0names now." in page
    assert '<option value="shop">shop (28)</option>' in page
    assert "shop max@example.org" in words(page)
    assert len(names_of(client.get("/domains?tag=shop").text)) == 28
    assert names_of(client.get("/domains?who=nobody&sort=name").text) == ["n28.example", "n29.example"]
    assert len(names_of(site.client("manager").get("/domains?who=mine").text)) == 28
    assert "No name matches" in client.get("/domains?who=left").text
    assert "No name matches" in client.get("/domains?tag=%3Cb%3E").text
    kept = post(client, "/domains/edit", {"ref": refs[:1], "take": "shop", "tag": "shop", "who": max_})
    assert kept.location == f"/domains?tag=shop&who={max_}", "the filters are kept"
    refused = post(client, "/domains/edit", {"ref": refs[3:5], "add": "no|tag", "responsible": max_}, HX_Request="true")
    assert refused.status_code == 422
    assert "The tag holds U+007C" in refused.text
    assert re.findall(r'value="(\w+)" aria-label="[^"]*" checked', refused.text) == refs[3:5], "what was ticked stays ticked"
    assert 'value="no|tag"' in refused.text
    assert "<html" not in refused.text
    assert "bulk" not in site.client("viewer").get("/domains").text
    site.add("theirs.example", role="stranger")
    theirs = site.client("stranger").get("/domains?tag=shop").text
    assert "No name matches" in theirs
    assert "(28)" not in theirs
    rows = client.get(f"/domains/rows?ref={refs[5]}", headers={"HX-Request": "true"}).text
    assert '<bdi class="tag">shop</bdi>' in rows


@pytest.mark.slow
def test_every_name_that_matches_is_edited_on_whichever_page(site: Site) -> None:
    site.add(*(f"n{number}.example" for number in range(60)), *(f"m{number}.other" for number in range(5)))
    theirs = site.add("n1.example", role="stranger")
    client, max_ = site.client("owner"), site.actors["manager"].user_ref
    assert "Every name of this account, on the other pages too" in words(client.get("/domains").text)
    assert "Every name that matches the filters" in words(client.get("/domains?q=n&sort=name").text)
    assert "on the other pages too" not in client.get("/domains?q=other").text, "they are all there"
    done = post(client, "/domains/edit", {"every": "1", "q": ".example", "responsible": max_, "add": "shop"})
    assert "Tagged 60\u00a0names: shop. max@example.org is responsible for 60\u00a0names now." in client.get(done.location).text
    assert "m0.other" in client.get("/domains?who=nobody&q=other").text.replace("<wbr>", "")
    manager = site.client("manager")
    mine = post(manager, "/domains/edit", {"every": "1", "who": "mine", "responsible": "nobody"})
    assert "Nobody is responsible for 60\u00a0names now" in manager.get(mine.location).text
    nothing = post(client, "/domains/edit", {"every": "1", "q": "nowhere", "add": "x"})
    assert nothing.status_code == 422
    assert 'class="tag">shop' not in site.client("stranger").get(f"/endpoints/{theirs[0]}").text


@pytest.mark.slow
def test_more_than_may_be_edited_at_once_is_refused_and_stays_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("core.actions.cards", "portal.views.domains"):
        monkeypatch.setattr(f"{module}.AT_ONCE", 55)
    site.add(*(f"n{number}.example" for number in range(60)))
    refused = post(site.client("owner"), "/domains/edit", {"every": "1", "add": "shop"})
    assert refused.status_code == 422
    assert "At most 55 names are edited at once" in refused.text
    assert 'name="every" value="1" checked' in refused.text
    assert 'value="shop"' in refused.text


@pytest.mark.slow
def test_an_owner_is_told_of_orphans_and_how_many_a_removal_makes(site: Site) -> None:
    refs = site.add("a.example", "b.example", "c.example")
    max_ = site.actors["manager"].user_ref
    give(site, refs[:2], Bulk(responsible=max_))
    client = site.client("owner")
    team = client.get("/team").text
    assert f'<a href="/domains?who={max_}">2\u00a0names</a>' in team
    assert "lost the responsible person" not in team
    post(client, "/team/remove", {"ref": max_})
    after = client.get("/team").text
    assert "2\u00a0names have nobody responsible now" in after
    assert "2\u00a0names have lost the responsible person" in after
    assert '<a href="/domains?who=left">2\u00a0names have lost the responsible person</a>' in client.get("/").text
    for path in ("/", "/team"):
        assert "lost the responsible person" not in site.client("viewer").get(path).text
        assert "lost the responsible person" not in site.client("stranger").get(path).text
    listed = client.get("/domains?who=left&sort=name").text
    assert names_of(listed) == ["a.example", "b.example"]
    assert "Responsible person has left" in listed
    assert "Has left the account" in client.get(f"/endpoints/{refs[0]}").text
    post(client, "/team/restore", {"ref": max_})
    assert "lost the responsible person" not in client.get("/team").text
    assert "lost the responsible person" not in client.get("/").text
    give(site, refs[2:], Bulk(responsible=max_))
    post(client, "/team/remove", {"ref": max_})
    assert "3\u00a0names have lost the responsible person" in client.get("/").text
    post(client, "/domains/remove", {"ref": refs})
    site.add("d.example")
    assert "lost the responsible person" not in client.get("/").text, "what lies in the bin needs nobody"


@pytest.mark.slow
def test_programs_read_what_is_written(site: Site) -> None:
    refs = site.add("a.example", "b.example")
    give(site, refs[:1], Bulk("x,a b", "", site.actors["manager"].user_ref))
    with site.sessions.writing() as session:
        token = make_token(session, site.actors["owner"], name="t", scopes=["read:domains"], days=30, now=NOW).token
    first, second = site.client().get("/api/v1/domains", headers={"Authorization": f"Bearer {token}"}).get_json()["items"]
    assert (first["tags"], first["note"], first["responsible"]) == (["a b", "x"], "", PEOPLE["manager"])
    assert (second["tags"], second["note"], second["responsible"]) == ([], "", None)
    post(site.client("owner"), "/team/remove", {"ref": site.actors["manager"].user_ref})
    (first, _) = site.client().get("/api/v1/domains", headers={"Authorization": f"Bearer {token}"}).get_json()["items"]
    assert first["responsible"] is None


def statements(site: Site, client: FlaskClient, path: str) -> int:
    asked: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(site.sessions.engine, "before_cursor_execute", note)
    assert client.get(path).status_code == 200
    sa.event.remove(site.sessions.engine, "before_cursor_execute", note)
    return len(asked)


@pytest.mark.slow
def test_pages_ask_no_more_for_many_written_names_than_for_one(site: Site) -> None:
    refs = site.add("n0.example")
    give(site, refs, Bulk("t0", "", site.actors["manager"].user_ref))
    client = site.client("owner")
    client.get("/domains")  # once, so that what a process asks only once is behind it
    before = [statements(site, client, path) for path in ("/domains", "/team")]
    refs += site.add(*(f"n{number}.example" for number in range(1, 40)))
    for number in range(10):
        give(site, refs[number * 4 : number * 4 + 4], Bulk(f"t{number},u{number}", "", site.actors["viewer"].user_ref))
    assert [statements(site, client, path) for path in ("/domains", "/team")] == before
