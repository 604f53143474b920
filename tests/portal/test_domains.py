import html
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli import broker
from core.actions.heartbeats import beat
from core.broker import answers
from core.scanner.path import Roots
from core.store.endpoints import Endpoint, Schedule
from core.store.watches import STATES, Watch, WatchTally
from demo.pki import make_chain
from tests.make import NOW, make_scan, run_scans
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site, post
from tests.processes import eventually

HTMX = {"HX-Request": "true"}


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[str]:
    """The URL of a broker that answers."""
    own = broker.prepare(tmp_path)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(own.url))
        yield own.url
    finally:
        process.kill()
        process.wait()
        broker.tidy(own)


def names_of(text: str) -> list[str]:
    """The names that a list shows, in its order."""
    body = text.partition("<tbody")[2].partition("</tbody>")[0]
    return [
        html.unescape(re.sub("<[^>]+>", "", cell)).split()[0] for cell in re.findall(r'<span class="nt">(.*?)</span></?\w', body, re.DOTALL)
    ]


def settle(site: Site, **states: str) -> None:
    """Give watches a state, by the first part of their name, as a scan would."""
    with site.sessions.writing() as session:
        for number, watch in enumerate(session.scalars(sa.select(Watch).order_by(Watch.id))):
            state = states.get(watch.name.partition(".")[0], "ok")
            watch.state, watch.rank = state, STATES.index(state)
            if state != "live":
                watch.ends_at = NOW + timedelta(days=30 - number)
                session.execute(
                    sa.update(Schedule).where(Schedule.endpoint_id == watch.endpoint_id).values(last_scanned_at=NOW, requested_at=None)
                )
        session.flush()
        for tally in session.scalars(sa.select(WatchTally)):
            where = (Watch.account_id == tally.account_id, Watch.state == tally.state, Watch.deleted_at.is_(None))
            tally.watches = session.scalar(sa.select(sa.func.count()).where(*where)) or 0


def test_an_empty_list_opens_the_box_and_a_full_one_closes_it(site: Site) -> None:
    client = site.client("owner")
    empty = client.get("/domains").text
    assert "No names yet" in empty
    assert '<details class="panel paste" id="paste" open>' in empty
    site.add("a.example")
    assert '<details class="panel paste" id="paste">' in client.get("/domains").text


def test_a_pasted_list_is_told_line_by_line_and_bad_lines_stay_in_the_box(site: Site) -> None:
    client = site.client("owner")
    answer = post(client, "/domains", {"names": "a.example\r\nbad name\r\nA.example\r\n<script>alert(1)</script>\r\nb.example:8443"})
    assert answer.status_code == 422
    assert "2 added, 1 given more than once, 2\u00a0lines need a correction." in answer.text
    assert re.search(r"<textarea[^>]*>\nbad name\n&lt;script&gt;alert\(1\)&lt;/script&gt;</textarea>", answer.text)
    assert "<script>alert" not in answer.text
    assert names_of(answer.text) == ["a.example", "b.example:8443"]
    assert "2\u00a0names are being checked for the first time" in answer.text
    again = post(client, "/domains", {"names": "a.example\nb.example:8443"})
    assert (again.status_code, "2\u00a0were here already." in again.text) == (200, True), "sending it again changes nothing"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "There is no name in this list."),
        ("# only a comment\n\n", "There is no name in this list."),
        ("x\n" * 10_001, "Nothing was read; paste it in parts."),
        ("x" * (2 * 1024 * 1024 + 1), "Nothing was read; paste it in parts."),
    ],
)
def test_a_list_that_cannot_be_read_is_kept_in_the_box(site: Site, typed: str, sentence: str) -> None:
    answer = post(site.client("owner"), "/domains", {"names": typed})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert typed.strip() in answer.text


def test_htmx_gets_the_part_and_what_changes_beside_it(site: Site) -> None:
    client = site.client("owner")
    answer = post(client, "/domains", {"names": "a.example"}, HX_Request="true")
    assert answer.text.lstrip().startswith('<div id="domains">')
    assert "<html" not in answer.text
    assert '<span class="count" id="count-domains" hx-swap-oob="true">1</span>' in answer.text
    part = client.get("/domains", headers=HTMX).text
    assert 'id="list"' in part
    assert 'id="paste"' not in part
    whole = client.get("/domains", headers=HTMX | {"HX-History-Restore-Request": "true"}).text
    assert "<html" in whole, "going back in history brings the page"


@pytest.mark.slow
def test_ten_thousand_lines_are_read_in_one_request(site: Site) -> None:
    client = site.client("owner")
    text = "\n".join([f"n{n}.example.org" for n in range(9_000)] + ["bad name"] * 1_000)
    began = time.thread_time()
    answer = post(client, "/domains", {"names": text})
    assert time.thread_time() - began < 20
    assert "9,000 added, 1,000\u00a0lines need a correction." in answer.text
    assert answer.text.count("<li>") == 300
    assert len(answer.text) < 400_000
    began = time.thread_time()
    assert names_of(client.get("/domains?q=n8999").text) == ["n8999.example.org"]
    assert time.thread_time() - began < 2


@pytest.mark.slow
def test_rows_that_are_checked_are_asked_for_in_one_request_and_settle(site: Site) -> None:
    a, b = site.add("a.example", "b.example")
    client = site.client("owner")
    page = client.get("/domains").text
    assert page.count("hx-trigger") == 2, "the filters and one question for all rows"
    assert 'hx-get="/domains/rows" hx-trigger="load delay:2s, again"' in page
    assert page.count("Reload") == 1, "a way without JavaScript"
    chain = make_chain(["a.example"], now=NOW)
    with site.sessions.writing() as session:
        session.execute(
            sa.update(Schedule)
            .where(Schedule.endpoint_id == sa.select(Endpoint.id).where(Endpoint.name == "b.example").scalar_subquery())
            .values(watchers=0)
        )
        run_scans(session, lambda _: make_scan("a.example", {"192.0.2.1": chain.ders}), roots=Roots.of([chain.root.certificate]), now=NOW)
    rows = client.get(f"/domains/rows?ref={a}&ref={b}&n=3", headers=HTMX).text
    assert f'id="w-{a}" hx-swap-oob="true"' in rows
    assert f'id="w-{b}" aria-busy="true" hx-swap-oob="true"' in rows
    assert re.findall(r'name="ref" value="(\w+)">', rows.partition("</noscript>")[0]) == [b], "what has settled is not asked for again"
    assert 'name="n" value="4"' in rows
    settled = client.get(f"/domains/rows?ref={a}", headers=HTMX).text
    assert '<div id="pending" hx-get="/domains" hx-trigger="load" hx-target="#list" hx-swap="outerHTML">' in settled, "worst first again"
    assert settled.count("hx-trigger") == 1
    place = client.get(f"/domains/rows?ref={a}&q=exam&sort=ends&after=x", headers=HTMX).text
    assert 'hx-get="/domains?q=exam&amp;sort=ends&amp;after=x"' in place, "where the person is in the list"
    listed = client.get("/domains?q=a.example", headers=HTMX).text
    assert '<div id="pending"></div>' in listed, "asking ends with the list"
    assert "delay:10s" in client.get(f"/domains/rows?ref={b}&n=99", headers=HTMX).text, "a long wait is asked about less often"


def test_scan_now_shows_the_row_as_being_checked(site: Site) -> None:
    [a] = site.add("a.example")
    settle(site)
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW + timedelta(seconds=50)))
    client = site.client("owner")
    assert "aria-busy" not in client.get("/domains").text
    answer = post(client, "/domains/check", {"ref": [a]})
    assert answer.location == "/domains"
    page = client.get("/domains").text
    assert "scanned a moment ago" in page
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW - timedelta(hours=1)))
    post(client, "/domains/check", {"ref": [a]})
    page = client.get("/domains").text
    assert "A scan of 1\u00a0name was asked for." in page
    assert "aria-busy" in page
    assert "asked for" not in client.get("/domains").text, "told once"


@pytest.mark.slow
def test_filters_by_part_of_a_name_in_either_form_and_by_state(site: Site) -> None:
    site.add("pay.example", "bücher.example".encode("idna").decode(), "mail.example", "100-percent.example")
    settle(site, pay="bad", mail="soon")
    client = site.client("owner")
    for text, names in {
        "pay": ["pay.example"],
        "PAY": ["pay.example"],
        "büch": ["bücher.example"],
        "B%C3%9CCH": ["bücher.example"],
        "xn--bch": ["bücher.example"],
        "%25": [],
        "_": [],
        "0-p": ["100-percent.example"],
        "pay.example:443": ["pay.example"],
        "pay.example:": ["pay.example"],
        "pay.example:8443": [],
        "pay.example:x": [],
        ":443": ["pay.example", "mail.example", "bücher.example", "100-percent.example"],
        "https://pay.example/start?x=1": ["pay.example"],
        "https://Bücher.example:443/": ["bücher.example"],
        "https://pay.example:8443/": [],
    }.items():
        assert sorted(names_of(client.get(f"/domains?q={text}").text)) == sorted(names), text
    assert names_of(client.get("/domains?state=soon").text) == ["mail.example"]
    assert names_of(client.get("/domains?state=bad&q=mail").text) == []
    counted = dict(re.findall(r"</svg>([A-Z][a-z ]+) <span class=\"n\">(\d+)</span>", client.get("/domains?state=bad").text))
    assert counted == {"Needs you": "1", "Soon": "1", "Not reached": "0", "Checking": "0", "Well": "2"}


def test_the_head_counts_those_that_could_not_be_reached(site: Site) -> None:
    site.add("a.example", "b.example", "c.example")
    settle(site, a="unk", b="unk", c="bad")
    client = site.client("owner")
    assert "2 could not be reached" in client.get("/domains").text
    settle(site)
    assert "could not be reached" not in client.get("/domains").text


@pytest.mark.slow
def test_sorts_worst_ends_and_name(site: Site) -> None:
    site.add("c.example", "b.example", "a.example")
    settle(site, b="bad")
    client = site.client("owner")
    assert names_of(client.get("/domains").text) == ["b.example", "c.example", "a.example"]
    assert names_of(client.get("/domains?sort=ends").text) == ["c.example", "b.example", "a.example"]
    assert names_of(client.get("/domains?sort=name").text) == ["a.example", "b.example", "c.example"]
    assert client.get("/domains?sort=1;drop table watches").status_code == 200


@pytest.mark.slow
def test_removing_offers_undo_and_keeps_the_place_in_the_list(site: Site) -> None:
    a, b = site.add("a.example", "b.example")
    settle(site)
    client = site.client("owner")
    answer = post(
        client, "/domains/remove", {"ref": [a], "q": "example", "state": "ok", "sort": "name", "after": "", "next": "//evil.example"}
    )
    assert (answer.status_code, answer.location) == (303, "/domains?q=example&state=ok&sort=name")
    page = client.get(answer.location).text
    assert names_of(page) == ["b.example"]
    assert "1\u00a0name moved to the bin" in page
    assert 'action="/domains/restore"' in page
    form = page[page.index('action="/domains/restore"') :].partition("</form>")[0]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    assert (fields["ref"], fields["q"], fields["state"], fields["sort"]) == (a, "example", "ok", "name")
    kept = post(client, "/domains/restore", {name: value for name, value in fields.items() if name not in {"csrf_token", "ref"}})
    assert kept.location == answer.location, "the search is kept"
    undo = post(client, "/domains/restore", {"ref": [a]})
    assert names_of(client.get(undo.location).text) == ["a.example", "b.example"]
    assert "Nothing was selected" in client.get(post(client, "/domains/remove").location).text
    assert b


def test_hostile_and_long_names_do_not_break_the_page(site: Site) -> None:
    long = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    site.add(long, "xn--pypal-4ve.example", f"{'very-' * 11}long.shop.example")
    with site.sessions.writing() as session:
        session.execute(sa.update(Watch).values(sentence='<img src=x onerror="alert(1)">\u202e\x07'))
    page = site.client("owner").get("/domains").text
    assert "<img" not in page
    assert '<span class="esc">U+202E</span><span class="esc">U+0007</span>' in page
    assert "Mixed scripts" in page
    assert "xn--pypal-4ve.<wbr>example" in page
    assert f'title="{"very-" * 11}long.shop.example"' in page, "what is cut can be reached whole"


def test_the_broker_away_is_told_and_kept_mails_too(make_site: MakeSite) -> None:
    site = make_site(mail_is_kept=True)
    page = site.client("owner").get("/domains").text
    assert "Scans are waiting" in page
    assert "Nothing is lost" in page
    assert "No mail leaves this machine" in page
    assert "Scans are waiting" not in site.client().get("/sign-in").text, "strangers are told nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("silent", "age_s", "told"), [("", 5, False), ("", 60, False), ("worker.scan", 61, True), ("clock", 61, True), ("none", 0, True)]
)
def test_workers_that_give_no_sign_of_life_are_told(make_site: MakeSite, own_broker: str, silent: str, age_s: int, told: bool) -> None:
    site = make_site(redis_url=own_broker)
    at = NOW + timedelta(minutes=1)  # what the portal takes for now
    if silent != "none":
        with site.sessions.writing() as session:
            for name in ("clock", "worker.now", "worker.scan"):
                beat(session, name, pid=1, now=at - timedelta(seconds=age_s if name == silent or not silent else 5))
    page = site.client("owner").get("/domains").text
    assert ("No worker answers" in page) == told
    assert ("Scans are waiting" in page) == told
    assert "The broker does not answer" not in page


def test_private_ranges_are_for_the_accounts_that_the_operator_named(make_site: MakeSite) -> None:
    site = make_site(scan_allow_accounts=(PEOPLE["owner"],))
    for role in ("owner", "stranger"):
        assert post(site.client(role), "/domains", {"names": "intern.example"}).status_code == 200
    with site.sessions.reading() as session:
        scopes = set(session.scalars(sa.select(Endpoint.scope)))
    assert scopes == {"", site.actors["owner"].account_ref}


@pytest.mark.slow
def test_people_who_add_at_the_same_moment_all_get_through(site: Site) -> None:
    clients = [site.client(role) for role in ("owner", "manager", "stranger") * 4]
    start = threading.Barrier(len(clients))
    statuses: list[int] = []

    def add(number: int) -> None:
        start.wait(10)
        statuses.append(post(clients[number], "/domains", {"names": f"n{number}.example"}).status_code)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * len(clients)
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count(Watch.id))) == len(clients)


@pytest.mark.slow
def test_how_a_name_is_reached_is_read_shown_and_kept_through_the_bin(site: Site) -> None:
    client = site.client("owner")
    mail = ["mail.example:25", "mail.example:2525 smtp", "mail.example:25 smtp"]
    typed = [*mail, "www.example", "www.example 192.0.2.20", "www.example 192.0.2.20 smtp imap"]
    answer = post(client, "/domains", {"names": "\n".join(typed)})
    assert "4 added, 1 given more than once, 1\u00a0line needs a correction." in answer.text
    assert "Two protocols follow this name." in answer.text
    with site.sessions.reading() as session:
        watches = session.scalars(sa.select(Watch).order_by(Watch.id)).all()
        kept = {watch.key: watch.ref for watch in watches}
        targets = {(each.name, each.port, each.starttls, each.address) for each in session.scalars(sa.select(Endpoint))}
    assert set(kept) == targets
    assert targets == {
        ("mail.example", 25, "smtp", ""), ("mail.example", 2525, "smtp", ""),
        ("www.example", 443, "", ""), ("www.example", 443, "", "192.0.2.20"),
    }  # fmt: skip
    standby = kept["www.example", 443, "", "192.0.2.20"]
    shown = client.get(f"/endpoints/{standby}").text
    assert re.search(r'<span class="how">at 192\.<wbr>0\.<wbr>2\.<wbr>20</span>', shown)
    assert "whatever the DNS says" in shown
    assert "SMTP with STARTTLS" in client.get(f"/endpoints/{kept['mail.example', 25, 'smtp', '']}").text
    post(client, "/domains/remove", {"ref": standby})
    assert "at 192." in client.get("/bin").text
    post(client, "/domains/restore", {"ref": standby})
    with site.sessions.reading() as session:
        back = session.scalars(sa.select(Watch).where(Watch.ref == standby)).one()
    assert (back.deleted_at, back.key) == (None, ("www.example", 443, "", "192.0.2.20"))


def many(site: Site, count: int = 30) -> list[str]:
    return site.add(*(f"n{number}.example.org" for number in range(count)))


@pytest.mark.slow
def test_many_at_once_ask_for_the_password_and_then_for_a_second_person(site: Site) -> None:
    refs = many(site)
    client = site.client("owner")
    asked = post(client, "/domains/remove", {"ref": refs, "q": "example"})
    assert asked.status_code == 200
    assert "Stop watching 30 names?" in asked.text
    assert asked.text.count('name="ref"') == 30
    assert asked.headers["HX-Retarget"] == "#main"
    wrong = post(client, "/domains/remove", {"ref": refs, "proof": "wrong"})
    assert wrong.status_code == 422
    assert "This is not your password" in wrong.text
    assert post(client, "/domains/remove", {"ref": refs, "proof": PASSWORD}).location == "/approvals"
    page = client.get("/approvals").text
    assert "wait for somebody else" in page
    assert "Take it back" in page
    assert "Yes, remove them" not in page
    assert "n0.example.org" in client.get("/domains").text
    assert "Somebody waits" not in client.get("/domains").text
    other = site.client("manager")
    assert "Somebody waits for your yes or no" in other.get("/domains").text
    ref = re.findall(r'name="ref" value="(\w+)">Yes', other.get("/approvals").text)[0]
    assert "Yes, remove them" not in site.client("viewer").get("/approvals").text
    assert post(client, "/approvals/approve", {"ref": ref}).status_code == 422, "by who asked"
    assert post(site.client("stranger"), "/approvals/approve", {"ref": ref}).status_code == 422
    assert "n0.example.org" not in site.client("stranger").get("/approvals").text
    assert post(other, "/approvals/approve", {"ref": ref}).location == "/approvals"
    assert "30\xa0names: approved" in other.get("/approvals").text
    assert "n0.example.org" not in client.get("/domains").text


@pytest.mark.slow
def test_tries_of_the_password_are_limited_there_and_removing_a_few_is_not(site: Site) -> None:
    refs = many(site)
    client = site.client("owner")
    statuses = [post(client, "/domains/remove", {"ref": refs, "proof": "wrong"}).status_code for _ in range(11)]
    assert statuses[0] == 422
    assert statuses[-1] == 429
    assert post(client, "/domains/remove", {"ref": refs[:2]}).status_code == 303
