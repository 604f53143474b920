"""The pages of exports and imports: lists and calendars to take along, files handed in, and what is refused with nothing lost."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from icalendar import Calendar
from werkzeug.test import TestResponse

from core.store.imported import imports_waiting
from demo.pki import make_chain
from jobs.imports import bring_in
from portal import security
from tests.backups import Yard
from tests.make import NOW
from tests.portal.conftest import PASSWORD, Site, forget_tries, post, token_for
from tests.scenes import roots_of, scan_all


@pytest.mark.slow
def test_lists_are_taken_along_by_members_and_name_nothing_of_others(site: Site) -> None:
    site.add("www.harbour.example", "shop.harbour.example")
    site.add("secret.elsewhere.example", role="stranger")
    chain, theirs = make_chain(["*.harbour.example"]), make_chain(["secret.elsewhere.example"])
    seen = {"www.harbour.example": {"192.0.2.1": chain.ders}, "secret.elsewhere.example": {"192.0.2.2": theirs.ders}}
    scan_all(site.sessions, seen, roots_of(chain, theirs))
    viewer = site.client("viewer")
    for name, kind in {
        "domains.csv": "text/csv", "domains.json": "application/json", "certificates.csv": "text/csv",
        "certificates.json": "application/json",
        "certificates.pem": "application/x-pem-file",
    }.items():  # fmt: skip
        answer = post(viewer, f"/exports/lists/{name}")
        assert (answer.status_code, answer.mimetype) == (200, kind)
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "elsewhere" not in answer.text
        assert ("www.harbour.example" if name.startswith("domains") else chain.leaf.sha256) in answer.text
        assert theirs.leaf.sha256 not in answer.text
    rows = list(csv.reader(io.StringIO(post(viewer, "/exports/lists/domains.csv").text, newline="")))
    assert rows[0][:4] == ["name", "port", "starttls", "fixed"]
    assert [row[0] for row in rows[1:]] == ["shop.harbour.example", "www.harbour.example"]


@pytest.mark.slow
def test_a_calendar_is_read_by_whoever_has_its_address_until_it_is_closed(site: Site) -> None:
    site.add("www.harbour.example")
    chain = make_chain(["www.harbour.example"])
    scan_all(site.sessions, {"www.harbour.example": {"192.0.2.1": chain.ders}}, roots_of(chain))
    owner = site.client("owner")
    shown = re.search(r'id="made" value="http://localhost([^"]+)"', post(owner, "/exports/calendars", {"name": "team <b>"}).text)
    assert shown is not None
    anybody = site.client()
    answer = anybody.get(shown[1])
    assert answer.mimetype == "text/calendar"
    assert all(len(line) <= 75 for line in answer.data.split(b"\r\n"))
    (event,) = Calendar.from_ical(answer.data).walk("VEVENT")
    assert event["SUMMARY"] == "www.harbour.example: certificate ends"
    assert event["UID"] == f"{chain.leaf.sha256}@localhost"
    assert event.decoded("DTSTART") == chain.leaf.certificate.not_valid_after_utc.date()
    assert anybody.get(shown[1], headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    page = owner.get("/exports").text
    assert shown[1] not in page
    ref = re.findall(r'name="ref" value="([^"]+)"', page)[0]
    for who in ("manager", "stranger"):
        assert post(site.client(who), "/exports/calendars/close", {"ref": ref if who == "stranger" else "none"}).status_code == 404
    assert post(owner, "/exports/calendars/close", {"ref": ref}).status_code == 303
    assert anybody.get(shown[1]).status_code == 404


def hand(site: Site, who: str, name: str, content: bytes) -> TestResponse:
    client = site.client(who)
    data = {"csrf_token": token_for(client), "file": (io.BytesIO(content), name)}
    return client.post("/imports", data=data, content_type="multipart/form-data")


def work(site: Site, folder: Path) -> None:
    with site.sessions.reading() as session:
        waiting = imports_waiting(session, NOW)
    for each in waiting:
        bring_in(Yard(site.sessions, folder, NOW).context, each)


@pytest.mark.slow
def test_a_file_is_looked_through_chosen_from_applied_and_undone(site: Site, tmp_path: Path) -> None:
    site.add("here.example")
    hostile = b"name,note\nhere.example,<script>alert(1)</script>\nnew.example,fine\n<img src=x>,bad\n"
    answer = hand(site, "manager", "<b>list\u202e.csv", hostile)
    manager = site.client("manager")
    assert "Being looked through" in manager.get(answer.location).text
    work(site, tmp_path)
    page = manager.get(answer.location).text
    assert "<img" not in page.partition("<main")[2]
    assert "<b>list" not in page
    assert re.findall(r'class="n">(\d)', page) == ["1", "1", "0", "1"]
    assert "new.example" not in manager.get(f"{answer.location}?show=refused").text.partition("<tbody")[2]
    for who in ("stranger", "nobody", "viewer"):
        assert site.client(who).get(answer.location).status_code in {303, 403, 404}
        assert post(site.client(who), answer.location, {"do": "apply", "names": "on"}).status_code in {303, 403, 404}
    assert post(manager, answer.location, {"do": "apply", "names": "on", "cards": "on"}).status_code == 303
    work(site, tmp_path)
    done = manager.get(answer.location).text
    assert "Undo this import" in done
    assert "new.example" in manager.get("/domains").text
    assert "Undo" not in site.client("stranger").get("/imports").text
    assert post(site.client("owner"), answer.location, {"do": "undo"}).status_code == 303
    assert "new.example" not in manager.get("/domains?q=new").text.partition("<tbody")[2]
    assert "Undone" in manager.get("/imports").text
    assert post(manager, answer.location, {"do": "nonsense"}).status_code == 404


@pytest.mark.slow
def test_what_is_too_large_or_nothing_is_told_and_strangers_hand_nothing_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Choose a file" in hand(site, "manager", "", b"").text
    assert post(site.client("manager"), "/imports", {"names": " "}).status_code == 422
    site.app.config["MAX_CONTENT_LENGTH"] = 100_000  # what the test's own client sends stays in memory so
    large = b"a.example\n" * 20_000
    assert hand(site, "manager", "large.txt", large).status_code == 303
    for who in ("viewer", "nobody"):
        assert hand(site, who, "large.txt", large).status_code in {403, 413}
    monkeypatch.setattr(security, "UPLOAD_BYTES", len(large) - 1)
    answer = hand(site, "manager", "larger.txt", large)
    assert (answer.status_code, "Nothing was" in answer.text) == (413, True)


@pytest.mark.slow
def test_an_export_needs_the_password_and_a_plan_keeps_what_was_typed(site: Site) -> None:
    owner = site.client("owner")
    answer = post(owner, "/exports", {"history": "all", "export_proof": "wrong"})
    assert (answer.status_code, "This is not your password. Nothing was made." in answer.text) == (422, True)
    assert post(owner, "/exports", {"history": "for ever", "export_proof": PASSWORD}).status_code == 422
    assert post(owner, "/exports", {"history": "month", "export_proof": PASSWORD}).status_code == 303
    page = owner.get("/exports").text
    assert ("Waiting" in page, 'hx-trigger="every 2s"' in page) == (True, True)
    form: dict[str, str | list[str]] = {
        "place": "s3", "address": "https://s3.example/", "access_key": "AK", "secret_key": "CANARY", "every": "monthly", "history": "all",
        "plan_proof": PASSWORD,
    }  # fmt: skip
    answer = post(owner, "/exports/plan", form)
    assert (answer.status_code, "with the bucket in it" in answer.text) == (422, True)
    assert ('value="https://s3.example/"' in answer.text, 'value="AK"' in answer.text, "CANARY" in answer.text) == (True, True, False)
    assert '<option value="monthly" selected>' in answer.text
    assert post(owner, "/exports/plan", form | {"address": "https://s3.example/bucket"}).status_code == 303
    page = owner.get("/exports").text
    assert ("bucket" in page, "CANARY" in page) == (True, False)
    ref = re.findall(r'action="/exports/plans/([^"]+)"', page)[0]
    assert "not there any more" in followed(site, "stranger", ref)
    assert post(owner, f"/exports/plans/{ref}", {"do": "remove"}).status_code == 303
    assert f"/exports/plans/{ref}" not in owner.get("/exports").text
    forget_tries()
    shown = post(owner, "/exports/plan", form | {"place": "webhook", "address": "https://x.example/in"})
    secret = re.search(r'id="made" value="(whsec_[^"]+)"', shown.text)
    assert secret is not None
    assert secret[1] not in owner.get("/exports").text


def followed(site: Site, who: str, ref: str) -> str:
    client = site.client(who)
    post(client, f"/exports/plans/{ref}", {"do": "remove"})
    return client.get("/exports").text


@pytest.mark.slow
def test_names_that_are_left_out_on_one_page_of_many_stay_left_out(site: Site, tmp_path: Path) -> None:
    answer = hand(site, "manager", "many.txt", b"".join(b"host%03d.example\n" % number for number in range(150)))
    work(site, tmp_path)
    manager = site.client("manager")
    page = manager.get(answer.location).text
    shown = re.findall(r'name="shown" value="([^"]+)"', page)
    assert (len(shown), shown[0]) == (100, "host000.example:443")
    flags: dict[str, str | list[str]] = {"names": "on", "cards": "on"}
    more = post(manager, answer.location, flags | {"do": "more", "show": "", "from": "100", "shown": shown, "leave": shown[:2]})
    page = manager.get(more.location).text
    rest = re.findall(r'name="shown" value="([^"]+)"', page)
    assert (len(rest), 'name="theirs" checked' in page) == (50, False)
    post(manager, answer.location, flags | {"do": "apply", "shown": rest, "leave": rest[:1]})
    work(site, tmp_path)
    assert re.findall(r'class="n">(\d+)', manager.get(answer.location).text)[:3] == ["147", "0", "3"]
