from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.accounts import User
from core.store.watches import Watch
from tests.make import NOW
from tests.portal.conftest import PEOPLE, MakeSite, Site, post


@pytest.mark.slow
def test_the_bin_says_what_was_removed_when_and_by_whom_and_gives_it_back(site: Site) -> None:
    a, b = site.add("a.example", "b.example")
    post(site.client("manager"), "/domains/remove", {"ref": [a, b]})
    client = site.client("owner")
    page = client.get("/bin").text
    assert page.index("b.<wbr>example") < page.index("a.<wbr>example")
    assert "23 Nov 2026, 09:01" in page
    assert "max@<wbr>example.<wbr>org" in page
    assert "23 Dec 2026" in page, "kept until"
    answer = post(client, "/bin/restore", {"ref": [a]})
    assert answer.location == "/bin"
    page = client.get("/bin").text
    assert "1\u00a0name brought back" in page
    assert "a.<wbr>example" not in page
    assert "a.<wbr>example" in client.get("/domains").text
    again = client.get(post(client, "/bin/restore", {"ref": [a]}).location).text
    assert "Nothing was changed" in again
    assert "Tick the names first" in client.get(post(client, "/bin/restore").location).text


def test_a_viewer_sees_the_bin_and_gets_no_buttons(site: Site) -> None:
    post(site.client("owner"), "/domains/remove", {"ref": site.add("a.example")})
    page = site.client("viewer").get("/bin").text
    assert "a.<wbr>example" in page
    assert "/bin/restore" not in page
    assert "<button" not in page.partition("<main")[2].partition("</main>")[0]


@pytest.mark.slow
def test_after_thirty_days_nothing_is_offered_any_more(make_site: MakeSite) -> None:
    site = make_site()
    refs = site.add("a.example")
    post(site.client("owner"), "/domains/remove", {"ref": refs})
    with site.sessions.writing() as session:
        session.execute(sa.update(Watch).values(deleted_at=NOW - timedelta(days=30)))
    assert "The bin is empty" in site.client("owner").get("/bin").text


def test_who_left_is_not_named(site: Site) -> None:
    post(site.client("manager"), "/domains/remove", {"ref": site.add("a.example")})
    with site.sessions.writing() as session:
        session.execute(sa.update(User).where(User.email == PEOPLE["manager"]).values(deleted_at=NOW))
    assert "somebody who left" in site.client("owner").get("/bin").text
