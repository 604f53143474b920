from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.store.incidents import Notice
from demo.pki import make_chain
from tests.make import NOW
from tests.portal.conftest import MakeSite, Site
from tests.portal.test_endpoints import assert_only_our_markup
from tests.scenes import roots_of, scan_all


def _tell(site: Site, *names: str) -> None:
    site.add(*names)
    chains = {name: make_chain([name], not_after=NOW - timedelta(hours=1)) for name in names}
    seen = {name: {"192.0.2.1": chain.ders} for name, chain in chains.items()}
    scan_all(site.sessions, seen, roots_of(*chains.values()), NOW + timedelta(seconds=10))


def _set(site: Site, **values: Any) -> None:
    with site.sessions.writing() as session:
        session.execute(sa.update(Notice).values(**values))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "manager", "viewer"])
def test_members_see_what_the_account_was_told(site: Site, role: str) -> None:
    _tell(site, "shop.example")
    _set(site, subject="shop.example has ended", body="It ended yesterday.\nWhat to do: renew it.", sent_at=NOW, handed_at=NOW)
    page = site.client(role).get("/mails")
    assert page.status_code == 200
    for words in ("shop.example has ended", "It ended yesterday.", "mira@<wbr>example.<wbr>org", "Sent", "shop.<wbr>example"):
        assert words in page.text, words


@pytest.mark.slow
@pytest.mark.parametrize(("role", "status"), [("stranger", 200), ("nobody", 303)])
def test_others_see_nothing_of_it(site: Site, role: str, status: int) -> None:
    _tell(site, "shop.example")
    _set(site, subject="canary", body="canary", message="canary", last_error="canary")
    page = site.client(role).get("/mails")
    assert page.status_code == status
    for canary in ("canary", "shop.", "mira@"):
        assert canary not in page.text
    if role == "stranger":
        assert "No mail yet" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Not tried yet"),
        ({"attempts": 3, "last_error": "451 try again", "due_at": NOW + timedelta(hours=1)}, "451 try again"),
        ({"handed_at": NOW}, "no answer came. It may have arrived; it is not sent twice."),
        ({"handed_at": NOW, "sent_at": NOW, "kept": True}, "Kept in the outbox"),
        ({"cancelled_at": NOW}, "it was over before it could be told"),
    ],
)
def test_each_state_is_told_in_words(site: Site, values: dict[str, Any], words: str) -> None:
    _tell(site, "shop.example")
    if values:
        _set(site, **values)
    assert words in site.client("viewer").get("/mails").text


def test_a_warning_names_the_setting_when_no_mail_leaves(make_site: MakeSite) -> None:
    client = make_site(mail_is_kept=True).client("viewer")
    assert "No mail leaves this machine" in client.get("/mails").text
    assert "KEYCHEST_SMTP_URL" in client.get("/mails").text


def test_no_warning_when_mails_are_sent(site: Site) -> None:
    assert "KEYCHEST_SMTP_URL" not in site.client("viewer").get("/mails").text


@pytest.mark.slow
def test_older_mails_are_a_page_away_and_none_is_shown_twice(site: Site) -> None:
    names = [f"n{number:02}.example" for number in range(12)]
    _tell(site, *names)
    client = site.client("owner")
    first = client.get("/mails").text
    older = first[first.index("/mails?before=") :].partition('"')[0]
    second = client.get(older).text
    told = [re.findall(r"to ([\w@.<>]+)</span>.*?about .*?(n\d\d)\.<wbr>example", page, re.DOTALL) for page in (first, second)]
    assert [len(page) for page in told] == [30, 6]  # three people are told of each name
    assert len({*told[0], *told[1]}) == 36
    assert client.get("/mails?before=nonsense").status_code == 200


@pytest.mark.slow
def test_naughty_strings_stay_text(site: Site, shared: Path) -> None:
    _tell(site, "shop.example")
    strings = [text for text in json.loads((shared / "vectors/text/blns.json").read_text()) if text.strip()]
    client = site.client("owner")
    for start in range(0, len(strings), 60):
        words = "\n".join(strings[start : start + 60]).replace("\x00", "")
        _set(site, subject=words, body=words, message=words, last_error=words, attempts=1)
        page = client.get("/mails")
        assert page.status_code == 200
        assert_only_our_markup(page.text)
