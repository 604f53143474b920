"""The status feed's public pages: what is published, served as it is, to everybody, and honest about its age."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from core.status.files import files_of
from core.status.pages import made_mark
from core.status.told import Told
from portal.gate import PUBLIC
from tests.portal.conftest import MakeSite, Site
from tests.status.make import ADDRESS, MADE, rich_told

KINDS = {
    "html": "text/html; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
}


def publish(folder: Path, told: Told) -> dict[str, bytes]:
    files = files_of(told)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "public"


@pytest.fixture
def fed(make_site: MakeSite, folder: Path) -> Site:
    """A portal whose feed's folder is there, with nothing in it yet."""
    return make_site(status_folder=folder, now=lambda: MADE + timedelta(minutes=2))


def address_of(path: str) -> str:
    return "/status" if path == "index.html" else "/" + path.removesuffix("index.html")


@pytest.mark.slow
def test_the_files_are_served_as_they_are_to_everybody(fed: Site, folder: Path) -> None:
    files = publish(folder, replace(rich_told(), feed=ADDRESS))
    client = fed.client("owner")
    for path, content in files.items():
        answer = client.get(f"{address_of(path)}?whatever=1", buffered=True)
        assert answer.status_code == 200, path
        assert answer.data == content, path
        if path.startswith("static/"):
            continue
        kind = "application/feed+json; charset=utf-8" if path == "feed.json" else KINDS[path.rpartition(".")[2]]
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cache-Control"] == "public, max-age=15"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers.getlist("Set-Cookie") == []
        elsewhere = not path.endswith(".html")
        assert (answer.headers.get("Access-Control-Allow-Origin") == "*") is elsewhere
        assert answer.headers["Cross-Origin-Resource-Policy"] == ("cross-origin" if elsewhere else "same-origin")
        again = client.get(address_of(path), headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    assert client.get("/index.html").data == files["index.html"]
    assert client.get("/incidents/in-mail77").data == files["incidents/in-mail77/index.html"]


def test_the_pages_need_neither_cookie_nor_database(fed: Site, folder: Path) -> None:
    fed.sessions.engine.dispose()
    Path(str(fed.sessions.engine.url.database)).unlink()
    clients = (fed.client(), fed.client("owner"))
    for status in (503, 200):
        for client in clients:
            for path in ("/status", "/measures/", "/access/", "/incidents/in-mail77/"):
                answer = client.get(path)
                assert answer.status_code == status, path
                assert "Set-Cookie" not in answer.headers
                assert "Cookie" not in answer.headers.get("Vary", "")
        publish(folder, rich_told())


def test_nothing_else_is_served(fed: Site, folder: Path) -> None:
    publish(folder, rich_told())
    (folder.parent / "secret.json").write_text("{}")
    (folder / "api" / "secret.json").write_text("{}")
    client = fed.client()
    odd = ("/incidents/in-none/", "/incidents/../", "/incidents/%2e%2e/", "/incidents/a%2fb/", "/incidents/in-mail77%00/")
    api = ("/api/v2/../secret.json", "/api/v2/%2e%2e/secret.json", "/api/v2/..%2f..%2fsecret.json", "/api/v2/none.json")
    others = ("/badge/none.svg", "/badge/../feed.svg", "/badge/%2e%2e%2ffeed.svg", "/api/v2/incidents/none.json", "/api/v2/a/b/c.json")
    for path in (*odd, *api, *others):
        assert client.get(path).status_code in {400, 404}, path


def test_a_page_that_is_not_made_anew_says_since_when(make_site: MakeSite, folder: Path) -> None:
    late = make_site(status_folder=folder, now=lambda: MADE + timedelta(minutes=5, seconds=1))
    files = publish(folder, rich_told())
    for path in ("index.html", "measures/index.html", "access/index.html", "incidents/in-mail77/index.html"):
        page = late.client().get(address_of(path))
        assert page.status_code == 200
        assert "This page is not made anew" in page.text
        assert '<time datetime="2026-11-23T09:14:00Z">23 Nov 2026, 09:14</time> UTC, and nothing newer came' in page.text
        assert "This page is not made anew" not in files[path].decode()
        before, _, after = files[path].decode().partition(made_mark(MADE))
        assert page.text.startswith(before)
        assert page.text.endswith(after)
        assert late.client().get(address_of(path), headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    assert late.client().get("/feed.atom").data == files["feed.atom"]


def test_a_demonstrations_pages_say_that_they_are_made_up(make_site: MakeSite, folder: Path) -> None:
    publish(folder, rich_told())
    for late in (False, True):
        at = MADE + timedelta(minutes=6 if late else 1)
        shown = make_site(status_folder=folder, now=lambda at=at: at, demo=("a@example.org", "x")).client().get("/access/").text
        assert "This is a demonstration." in shown
        assert ("This page is not made anew" in shown) is late


def test_before_anything_is_published_nothing_is_claimed(fed: Site) -> None:
    client = fed.client()
    for path in ("/status", "/index.html", "/measures/", "/access/", "/incidents/in-mail77/"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60"), path
        assert "Nothing is measured yet" in answer.text
        assert answer.headers.getlist("Set-Cookie") == []
        assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/feed.atom", "/feed.json", "/api/v2/summary.json", "/api/v2/incidents/unresolved.json", "/badge/status.svg"):
        assert client.get(path).status_code == 404, path


def test_every_public_page_leads_to_it(fed: Site, folder: Path) -> None:
    publish(folder, rich_told())
    assert '<a href="/status">Status</a>' in fed.client().get("/sign-in").text
    assert {name for name in PUBLIC if name.startswith("status.")} == {
        f"status.{name}" for name in ("show", "measures", "access", "reasons", "incident", "feed", "api", "badge")
    }
