"""The feed's files come from memory, with the same headers as by the portal's own view, and never older than the view would give them."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from core.status.files import files_of
from core.status.placing import put_files
from portal import storm
from portal.parts import now
from tests.portal.conftest import MakeSite, Site
from tests.status.make import MADE, rich_told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "public"


@pytest.fixture
def site(make_site: MakeSite, folder: Path) -> Site:
    """A portal whose feed was published a moment ago, by its own clock."""
    put_files(folder, files_of(rich_told()))
    made = make_site(status_folder=folder, now=lambda: MADE)
    fresh(made, folder)
    return made


def fresh(site: Site, folder: Path, age: timedelta = timedelta()) -> None:
    with site.app.test_request_context():
        at = (now() - age).timestamp()
    for path in folder.rglob("*"):
        os.utime(path, (at, at))


def bare(site: Site) -> FlaskClient:
    """The portal's own view, without what stands before it."""
    site.app.wsgi_app = site.app.wsgi_app.app  # type: ignore[method-assign,attr-defined]
    return site.client()


PATHS = ("/status", "/index.html", "/measures/", "/access/", "/feed.atom", "/feed.json", "/api/v2/summary.json", "/badge/status.svg")


def test_it_answers_as_the_view_does(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = {path: site.client().get(f"{path}?utm=1&x=<script>") for path in PATHS}
    incident = next(path.name for path in (folder / "incidents").iterdir())
    fast |= {"/incidents": site.client().get(f"/incidents/{incident}/")}
    assert {answer.status_code for answer in fast.values()} == {200}
    client = bare(site)
    for path in PATHS:
        slow = client.get(path)
        mine, its = (
            {name: value for name, value in each.headers.items() if name not in {"ETag", "Vary", "Date"}} for each in (fast[path], slow)
        )
        assert mine == its, path
    assert (fast["/measures/"].data, fast["/incidents"].mimetype) == (client.get("/measures/").data, "text/html")


def test_what_somebody_has_already_is_not_sent_again(site: Site, folder: Path) -> None:
    first = site.client().get("/status")
    again = site.client().get("/status", headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'})
    assert (again.status_code, again.data) == (304, b"")
    assert site.client().get("/status", headers={"If-None-Match": '"other"'}).status_code == 200
    assert site.client().head("/status").data == b""


def test_a_file_that_changed_is_seen_after_a_moment_and_an_old_page_is_left_to_the_view(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.client()
    assert b"changed" not in client.get("/badge/status.svg").data
    (folder / "badge" / "status.svg").write_text("<svg>changed</svg>")
    assert b"changed" not in client.get("/badge/status.svg").data
    monkeypatch.setattr(storm, "_LOOKED_S", -1.0)
    assert b"changed" in client.get("/badge/status.svg").data
    (folder / "badge" / "status.svg").unlink()
    assert client.get("/badge/status.svg").status_code == 404
    assert "Vary" not in client.get("/status").headers
    fresh(site, folder, timedelta(minutes=6))
    assert "Vary" in client.get("/status").headers  # the view's answer, which says that the page is not made anew


@pytest.mark.parametrize("path", ["/api/v2/../../measured.json", "/badge/%2e%2e/x.svg", "/incidents/../", "/status/", "/api/v2/a/b/c.json"])
def test_nothing_else_is_given(site: Site, folder: Path, path: str) -> None:
    (folder.parent / "measured.json").write_text("secret")
    assert b"secret" not in site.client().get(path).data
    assert site.client().post("/status").status_code in {400, 405}
