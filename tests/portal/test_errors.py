import contextlib
import http.client
import shutil
import socket
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.portal.conftest import MakeSite, Site, post, token_of
from tests.portal.serving import serving


@pytest.mark.slow
def test_what_is_not_there_is_told_in_words(site: Site) -> None:
    page = site.client().get("/nothing")
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    notice = site.client("owner").get("/nothing", headers={"HX-Request": "true"})
    assert notice.headers["HX-Retarget"] == "#notices"
    assert "<html" not in notice.text


def test_a_wrong_method_names_the_right_ones(site: Site) -> None:
    answer = site.client("owner").get("/domains/remove")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert "Nothing was changed" in answer.text


def test_a_viewer_is_told_what_their_role_lacks(site: Site) -> None:
    answer = post(site.client("viewer"), "/domains", {"names": "a.example"})
    assert answer.status_code == 403
    assert "Your role in this account does not include this" in answer.text


def test_a_mistake_of_ours_is_told_in_words_and_shows_no_more(site: Site) -> None:
    def broken() -> str:
        raise LookupError("secret inside")

    site.app.view_functions["sign_in.show"] = broken
    answer = site.client().get("/sign-in")
    assert answer.status_code == 500
    assert "KeyChest made a mistake" in answer.text
    assert "secret inside" not in answer.text


@pytest.mark.parametrize("path", ["/domains", "/", "/bin"])
def test_with_the_database_away_pages_say_so_and_come_back_by_themselves(site: Site, path: str) -> None:
    client = site.client("owner")
    file = Path(str(site.sessions.engine.url.database))
    away = file.with_name("away")
    site.sessions.engine.dispose()
    shutil.move(file, away)
    file.mkdir()
    answer = client.get(path)
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    assert answer.headers["Retry-After"] == "5"
    assert client.get("/sign-in").status_code == 503, "whoever has a cookie is looked up"
    assert site.client().get("/sign-in").status_code == 200
    file.rmdir()
    shutil.move(away, file)
    assert client.get(path).status_code == 200


def test_a_postgresql_that_refuses_is_told_alike(make_site: MakeSite, parts: object) -> None:
    from dataclasses import replace

    from portal import Parts, create_app

    assert isinstance(parts, Parts)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    app = create_app(replace(parts, database_url=f"postgresql+psycopg://nobody@127.0.0.1:{port}/none"))
    client = app.test_client()
    answer = post(client, "/sign-in", {"email": "a@example.org", "password": "x"})
    assert answer.status_code == 503
    assert "was not saved" in answer.text


@pytest.mark.slow
def test_a_locked_database_is_told_and_nothing_is_saved(site: Site) -> None:
    client = site.client("owner")
    token = token_of(client, "/domains")
    site.sessions.engine.dispose()

    @event.listens_for(site.sessions.engine, "connect")
    def impatient(connection: object, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]  # a DBAPI connection

    with site.sessions.engine.connect() as holder:
        holder.execution_options(begin="IMMEDIATE").execute(sa.text("SELECT 1"))
        answer = client.post("/domains", data={"csrf_token": token, "names": "a.example"})
    assert answer.status_code == 503
    again = client.post("/domains", data={"csrf_token": token, "names": "a.example"})
    assert "1 added." in again.text, "the first try left nothing behind"


def test_a_list_of_four_megabytes_is_refused_in_words_through_the_real_server(site: Site) -> None:
    with serving(site.app, threads=2) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/domains", f"names={'x' * 4_000_000}", {"Content-Type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            text = answer.read().decode()
    assert answer.status == 413
    assert answer.headers["X-KeyChest"] == "1", "the page may show it"
    assert "This is more than KeyChest reads at once" in text
    assert "Nothing was added." in text
