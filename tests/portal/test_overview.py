from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.store.watches import Watch
from demo.pki import make_chain
from portal.views.overview import verdict
from portal.views.patterns import LONGEST
from tests.make import NOW
from tests.portal.conftest import Site
from tests.portal.test_endpoints import HTMX, assert_only_our_markup
from tests.scenes import roots_of, scan_all

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        ({"bad": 3, "soon": 6, "ok": 29}, "Three names need you now. Six more will soon."),
        ({"bad": 1, "ok": 1}, "One name needs you now."),
        ({"soon": 1}, "One name will need you soon."),
        ({"soon": 2, "unk": 13}, "Two names will need you soon. 13 could not be reached."),
        ({"unk": 1, "ok": 4}, "One name could not be reached."),
        ({"live": 1}, "The first scan is running."),
        ({"live": 4}, "The first scans are running."),
        ({"live": 1, "ok": 4}, "All is well so far. One name is being checked."),
        ({"ok": 1}, "Your name is well."),
        ({"ok": 1_912}, "All 1,912 names are well."),
    ],
)
def test_how_things_stand_in_a_sentence(tally: dict[str, int], words: str) -> None:
    assert verdict(dict.fromkeys(("bad", "soon", "unk", "live", "ok"), 0) | tally) == words


def _scene(site: Site) -> None:
    ends = {"bad.example": -1, "soon.example": 20, "ok.example": 80}
    site.add(*ends, "away.example")
    chains = {name: make_chain([name], not_before=NOW - 70 * DAY, not_after=NOW + days * DAY) for name, days in ends.items()}
    seen = {name: {"192.0.2.1": chain.ders} for name, chain in chains.items()}
    scan_all(site.sessions, seen, roots_of(*chains.values()), NOW + timedelta(seconds=10))


@pytest.mark.parametrize("role", ["owner", "manager", "viewer"])
def test_members_see_what_needs_them_first(site: Site, role: str) -> None:
    _scene(site)
    page = site.client(role).get("/").text
    assert "<h1>One name needs you now. One more will soon. One could not be reached.</h1>" in page
    bad, soon = page.index("h-bad"), page.index("h-soon")
    assert bad < page.index("bad.<wbr>example") < soon < page.index("soon.<wbr>example")
    assert "See the fix" in page
    assert "away.<wbr>example" in page
    assert "4\u00a0scans made today, 0 of yours missed" in page
    assert ("Add names" in page) == (role != "viewer")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["stranger", "nobody"])
def test_others_see_nothing_of_it(site: Site, role: str) -> None:
    _scene(site)
    page = site.client(role).get("/")
    assert page.status_code == (200 if role == "stranger" else 303)
    for canary in ("bad.", "soon.", "ok.", "away."):
        assert f"{canary}<wbr>example" not in page.text
        assert f"{canary}example" not in page.text


def test_an_empty_account_is_told_its_first_step(site: Site) -> None:
    page = site.client("owner").get("/").text
    assert "<h1>Nothing is watched yet</h1>" in page
    assert 'href="/domains#paste"' in page
    assert "Paste the names you are responsible for." in page
    assert 'href="/domains#paste"' not in site.client("viewer").get("/").text


@pytest.mark.slow
def test_lists_stop_at_ten_and_lead_to_the_rest(site: Site) -> None:
    names = [f"n{number}.example" for number in range(12)]
    site.add(*names)
    chain = make_chain(["other.example"])
    scan_all(site.sessions, {name: {"192.0.2.1": chain.ders} for name in names}, roots_of(chain), NOW + timedelta(seconds=10))
    page = site.client("viewer").get("/").text
    assert page.count("See the fix</a>") == 10
    assert '<a class="sm" href="/domains?state=bad">Show all 12</a>' in page


def test_it_asks_for_itself_while_first_scans_run(site: Site) -> None:
    site.add("a.example")
    client = site.client("viewer")
    running = client.get("/", headers=HTMX).text
    assert 'hx-get="/"' in running
    assert "<html" not in running
    scan_all(site.sessions, {}, roots_of(make_chain(["a.example"])), NOW + timedelta(seconds=10))
    assert "hx-get" not in client.get("/", headers=HTMX).text


def test_hostile_sentences_and_long_names_stay_in_their_place(site: Site) -> None:
    site.add(LONGEST)
    with site.sessions.writing() as session:
        session.execute(sa.update(Watch).values(state="bad", rank=0, sentence='<img src=x onerror="alert(1)">\u202e\x00'))
        session.execute(sa.text("UPDATE watch_tallies SET watches = 1 WHERE state = 'bad'"))
    page = site.client("owner").get("/")
    assert page.status_code == 200
    assert_only_our_markup(page.text)
    assert re.search(r'class="name long"[^>]*><span>replica-', page.text)
