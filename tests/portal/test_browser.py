"""The portal in a real browser: what needs script works, what must not need it works without, and nothing breaks the policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, Route, expect

from core.scanner.path import Roots
from core.store.cards import Card, DomainTag, Tag
from core.store.endpoints import Domain, Schedule
from core.store.observations import Certificate
from core.store.watches import Watch
from demo.pki import make_chain
from tests.make import NOW, make_scan, run_scans
from tests.portal.conftest import PASSWORD, PEOPLE, MakeSite, Site
from tests.portal.serving import serving
from tests.scenes import roots_of, scan_all

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture
def served(make_site: MakeSite) -> Iterator[tuple[Site, str]]:
    site = make_site()
    with serving(site.app) as url:
        yield site, url


@pytest.fixture
def page(browser: Browser, served: tuple[Site, str]) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()
    assert served


def _sign_in(page: Page, url: str, path: str = "/domains") -> list[str]:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{url}{path}")
    page.fill("#email", PEOPLE["owner"])
    page.fill("#password", PASSWORD)
    page.click("main form button")
    page.wait_for_url(f"**{path}")
    return complaints


def _scan(site: Site) -> None:
    later = NOW + timedelta(minutes=2)
    chain = make_chain(["a.example"], now=NOW)
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=later))
        roots = Roots.of([chain.root.certificate])
        run_scans(session, lambda _: make_scan("a.example", {"192.0.2.1": chain.ders}, at=later), roots=roots, now=later)


def test_names_are_added_turn_and_go_without_a_reload(page: Page, served: tuple[Site, str]) -> None:
    site, url = served
    complaints = _sign_in(page, url)
    page.evaluate("window.neverReloaded = true")
    page.fill("#names", "a.example\nbad name")
    page.click("text=Add names >> nth=-1")
    expect(page.locator(".results")).to_contain_text("1 added, 1\u00a0line needs a correction.")
    expect(page.locator("#names")).to_have_value("bad name")
    expect(page.locator("tr[aria-busy]")).to_have_count(1)
    expect(page.locator("#count-domains")).to_have_text("1")
    _scan(site)
    expect(page.locator("tbody .st")).to_have_text("Well", timeout=10_000)
    expect(page.locator("#pending")).not_to_have_attribute("hx-get", "/domains/rows")
    expect(page.locator(".chip.ok .n")).to_have_text("1")
    page.check("tbody input[type=checkbox]")
    expect(page.locator(".selbar")).to_be_visible()
    page.click("text=Stop watching")
    expect(page.locator(".toast")).to_contain_text("1\u00a0name moved to the bin")
    expect(page.locator("#list")).to_contain_text("No names yet")
    assert page.evaluate("window.neverReloaded") is True
    page.click("text=Undo")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert complaints == []


def test_typing_into_the_filter_loses_neither_letters_nor_the_place(browser: Browser, served: tuple[Site, str]) -> None:
    site, url = served
    site.add(*(f"host{n}.example" for n in range(60)), "b\u00fccher.example".encode("idna").decode())
    page = browser.new_page()
    complaints = _sign_in(page, url)
    page.click("#q")
    page.keyboard.type("host1", delay=150)
    expect(page.locator("tbody tr")).to_have_count(11)
    assert page.input_value("#q") == "host1"
    assert page.evaluate("document.activeElement.id") == "q"
    assert "q=host1" in page.url
    page.click(".chip.ok")
    expect(page.locator(".empty")).to_contain_text("matches “host1”")
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(11)
    page.fill("#q", "")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.click("text=Next")
    expect(page.locator("tbody tr")).to_have_count(11)
    page.click("text=Previous")
    expect(page.locator("tbody tr")).to_have_count(50)
    assert complaints == []


def test_without_javascript_everything_can_be_done(browser: Browser, served: tuple[Site, str]) -> None:
    site, url = served
    page = browser.new_context(java_script_enabled=False).new_page()
    _sign_in(page, url)
    page.fill("#names", "a.example\nbad name")
    page.click("form[action='/domains'] button.primary")
    expect(page.locator(".results")).to_contain_text("1 added")
    _scan(site)
    page.click("#pending a")
    expect(page.locator("tbody .st")).to_have_text("Well")
    page.fill("#q", "nothing")
    page.click("form.filters button")
    expect(page.locator(".empty")).to_contain_text("No name matches")
    page.click(".empty a")
    page.check("tbody input[type=checkbox]")
    page.click(".bulk summary")
    page.fill("#bulk-add", "Shop,team:web")
    page.select_option("#bulk-responsible", label=PEOPLE["owner"])
    page.click("text=Change the selected names")
    expect(page.locator("tbody tr .tag")).to_have_text(["shop", "team:web"])
    expect(page.locator(".toast")).to_contain_text("Tagged 1\u00a0name: shop,team:web.")
    page.check("tbody input[type=checkbox]")
    page.click("text=Stop watching")
    page.click("text=Undo")
    expect(page.locator("tbody tr .tag")).to_have_count(2)
    page.context.close()


def test_when_nobody_answers_the_page_says_so_and_keeps_what_was_typed(page: Page, served: tuple[Site, str]) -> None:
    _, url = served
    _sign_in(page, url)
    page.fill("#names", "a.example")
    page.route("**/domains", lambda route: route.abort())
    page.click("text=Add names >> nth=-1")
    expect(page.locator("#notices")).to_contain_text("KeyChest did not answer")
    assert page.input_value("#names") == "a.example"
    page.unroute("**/domains")
    page.click("text=Add names >> nth=-1")
    expect(page.locator(".results")).to_contain_text("1 added")
    expect(page.locator("#notices .banner")).to_have_count(0)


def _answer_instead(status: int, route: Route) -> None:
    route.fulfill(status=status, body="Foreign", content_type="text/html")


def test_an_answer_that_is_not_ours_does_not_replace_what_was_typed(page: Page, served: tuple[Site, str]) -> None:
    _, url = served
    _sign_in(page, url)
    page.fill("#names", "a.example")
    for status in (413, 502, 200):
        page.route("**/domains", partial(_answer_instead, status))
        page.click("text=Add names >> nth=-1")
        expect(page.locator("#notices")).to_contain_text("Nothing was added, and what you typed is still here.")
        expect(page.locator("main form button.primary")).to_be_enabled()
        assert page.input_value("#names") == "a.example"
        assert "Foreign" not in page.inner_text("body")
        page.unroute("**/domains")
    page.click("text=Add names >> nth=-1")
    expect(page.locator(".results")).to_contain_text("1 added")
    expect(page.locator("#notices .banner")).to_have_count(0)


def test_a_list_that_is_too_long_is_not_even_sent(page: Page, served: tuple[Site, str]) -> None:
    _, url = served
    complaints = _sign_in(page, url)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    for fill in ("'x\\n'.repeat(10001)", "'x'.repeat(2097153)"):
        page.evaluate(f"document.getElementById('names').value = {fill}")
        length = page.evaluate("document.getElementById('names').value.length")
        page.click("text=Add names >> nth=-1")
        expect(page.locator("#names-error")).to_contain_text("paste it in parts")
        assert page.evaluate("document.getElementById('names').value.length") == length
    assert sent == []
    page.fill("#names", "a.example")
    page.click("text=Add names >> nth=-1")
    expect(page.locator(".results")).to_contain_text("1 added")
    expect(page.locator("#names-error")).to_have_count(0)
    assert len(sent) == 1
    assert complaints == []


def test_when_the_last_scan_is_back_the_worst_comes_first(page: Page, served: tuple[Site, str]) -> None:
    site, url = served
    _sign_in(page, url)
    lists: list[str] = []
    page.on("request", lambda request: lists.append(request.url) if request.method == "GET" else None)
    page.fill("#names", "a.example\nz.example")
    page.click("text=Add names >> nth=-1")
    expect(page.locator("tr[aria-busy]")).to_have_count(2)
    good, late = (
        make_chain(["a.example"], now=NOW),
        make_chain(["z.example"], not_before=NOW - timedelta(days=80), not_after=NOW - timedelta(days=1)),
    )
    roots = roots_of(good, late)
    scan_all(
        site.sessions, {"a.example": {"192.0.2.1": good.ders}, "z.example": {"192.0.2.2": late.ders}}, roots, NOW + timedelta(minutes=2)
    )
    expect(page.locator("tbody tr .nt").first).to_contain_text("z.example", timeout=10_000)
    expect(page.locator("#pending[hx-get]")).to_have_count(0)
    assert lists.count(f"{url}/domains") == 1


@pytest.mark.parametrize("path", ["/domains", "/bin", "/", "/ui", "/security", "/endpoints"])
def test_a_phone_shows_it_whole_with_the_current_tab(browser: Browser, served: tuple[Site, str], path: str) -> None:
    site, url = served
    long, *_ = site.add(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]), "xn--pypal-4ve.example", f"{'very-' * 11}long.shop.example")
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    complaints = _sign_in(page, url)
    page.goto(f"{url}{path}" if path != "/endpoints" else f"{url}/endpoints/{long}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    tab: Any = page.locator(".tabs:not(.in-page) [aria-current]")
    if tab.count():
        box = tab.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    assert complaints == []
    context.close()


def _hostile(shared: Path) -> list[str]:
    """Other people's hostile strings, in texts as long as a note may be."""
    odd = [text for text in json.loads((shared / "vectors/text/blns.json").read_text()) if text]
    odd += [line for name in ("crlf.txt", "csv_injection.txt") for line in (shared / "vectors/text" / name).read_text().splitlines()]
    whole = "\n".join(odd).replace("\0", "")
    return [whole[at : at + 2_000] for at in range(0, len(whole), 2_000)]


def _write_everywhere(site: Site, texts: list[str]) -> list[str]:
    """A name for each text, which stands in its note, in a tag that no form would take, and in its certificate. Their pages."""
    owner = site.actors["owner"]
    pages = [f"/endpoints/{ref}" for ref in site.add(*(f"xn--pypal-4ve.n{number}.example" for number in range(len(texts))))]
    chain = make_chain(["n.example"], now=NOW)
    scan_all(site.sessions, {f"xn--pypal-4ve.n{n}.example": {"192.0.2.1": chain.ders} for n in range(len(texts))}, roots_of(chain))
    with site.sessions.writing() as session:
        for domain, text in zip(session.scalars(sa.select(Domain).order_by(Domain.id)), texts, strict=True):
            tag = Tag(account_id=owner.account_id, word=text[-32:], names=1)
            session.add_all([tag, Card(domain_id=domain.id, account_id=owner.account_id, note=text, version=1, changed_at=NOW)])
            session.flush()
            session.add(DomainTag(domain_id=domain.id, tag_id=tag.id, deleted_at=None))
        everything = "\n".join(texts)
        session.execute(sa.update(Certificate).values(subject=f"CN={everything}", issuer=everything))
        session.execute(sa.update(Watch).values(sentence=texts[-1]))
    return pages


def test_hostile_text_in_notes_tags_and_certificates_opens_nothing_asks_for_nothing_and_breaks_nothing(
    browser: Browser, served: tuple[Site, str], shared: Path
) -> None:
    site, url = served
    pages = _write_everywhere(site, _hostile(shared))
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    complaints = _sign_in(page, url)
    opened: list[str] = []
    asked: set[str] = set()
    page.on("dialog", lambda dialog: opened.append(dialog.message))
    page.on("request", lambda request: asked.add(request.url))
    for path in ("/", "/domains", "/certificates", *pages):
        page.goto(f"{url}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") == 360, path
        assert page.evaluate("document.querySelectorAll('main script, main img, main iframe, main [onerror], main [style]').length") == 0
    wanted = {f"{url}{path}" for path in ("/", "/domains", "/certificates", *pages)}
    assert {each for each in asked if not each.startswith(f"{url}/static/")} - {f"{url}/certificates/"} == wanted
    assert (opened, complaints) == ([], [])
    context.close()


def test_where_the_tabs_do_not_fit_the_current_one_is_in_sight(browser: Browser, served: tuple[Site, str]) -> None:
    _, url = served
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    _sign_in(page, url)
    assert page.evaluate("(() => { const tabs = document.querySelector('.tabs'); return tabs.scrollWidth - tabs.clientWidth })()") == 0
    page.goto(f"{url}/bin")
    page.set_viewport_size({"width": 240, "height": 740})
    expect(page.locator(".tabs [aria-current]")).to_be_in_viewport(ratio=1)
    context.close()
