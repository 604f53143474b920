"""What a newcomer does in the first ten minutes, in a real browser, against real servers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from playwright.sync_api import Browser, Locator, Page, expect

from core.actions.accounts import accept_welcome, create_user
from core.actions.passwords import hash_password
from core.actions.watches import SCAN_NOW_EVERY
from tests.make import TERMINAL
from tests.processes import eventually
from tests.stage import OWNER, Installation, Sink, Street, installation, settings_for, smtp_sink, street

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("walk")]
PASSWORD = "four or five words"
PLAIN = "ann@example.org"
SOON = 20_000
STATES = {
    "good": "Well",
    "ending": "Soon",
    "expired": "Needs you",
    "wrong": "Needs you",
    "incomplete": "Needs you",
    "differ": "Soon",
    "refusing": "Not reached",
}
Look = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Street, Sink, Installation]]:
    folder = tmp_path_factory.mktemp("walk")
    with street() as servers, smtp_sink() as sink:
        more = {"KEYCHEST_SMTP_URL": sink.url, "KEYCHEST_SCAN_ALLOW_ACCOUNTS": f"{OWNER},{PLAIN}"}
        settings = settings_for(servers, folder) | more
        with installation(folder / "data", settings) as running:
            running.await_health()
            yield servers, sink, running


def open_page(browser: Browser, running: Installation, *, javascript: bool = True) -> tuple[Page, list[str]]:
    context = browser.new_context(base_url=running.url, java_script_enabled=javascript, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SOON)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return page, said


def follow(page: Page, pressed: Locator, path: str) -> None:
    """Press what leads to another page, and be there: a press alone does not wait for the page that it asks for."""
    with page.expect_navigation(url=re.compile(path)):
        pressed.click()


def sign_in(page: Page, email: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Sign in"), r"/$")


def test_the_first_ten_minutes(browser: Browser, town: tuple[Street, Sink, Installation], look: Look) -> None:
    servers, sink, running = town
    page, said = open_page(browser, running)

    page.goto("/domains")  # nobody is signed in
    expect(page).to_have_url(re.compile(r"/sign-in"))
    look(page, "sign-in")

    page.goto(running.setup_path)
    look(page, "set-up")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Set up"), "/domains$")
    expect(page.get_by_role("heading", name="Domains")).to_be_visible()
    look(page, "domains-empty")
    page.goto("/")
    look(page, "overview-empty")

    page.goto("/domains")
    page.get_by_label("Paste names").fill("\n".join([*servers.lines, "", "# a comment", servers.lines[0]]))
    page.get_by_role("button", name="Add names").click()
    expect(page.locator(".results")).to_contain_text("7 added")
    for name, word in STATES.items():  # they turn by themselves
        expect(page.locator("tr", has_text=f"{name}.kc.test").locator(".c-st")).to_have_text(word)
    look(page, "domains")
    assert said == []

    page.get_by_label("Paste names").fill("harbourlight,example\n10.0.0.1\nexample.org:99999\nnew.kc.test:1\n" + "a" * 300)
    page.get_by_role("button", name="Add names").click()
    expect(page.locator(".results")).to_contain_text("4 lines need a correction")
    expect(page.get_by_label("Lines to correct")).to_have_value("harbourlight,example\n10.0.0.1\nexample.org:99999\n" + "a" * 300)
    look(page, "domains-corrections")
    said.clear()

    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Three names need you now")
    look(page, "overview")

    page.goto("/domains?state=bad")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.goto("/domains?q=differ")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto("/domains")
    first = page.locator("tbody tr").first.locator("a.name")
    expect(first).to_contain_text("expired")  # worst first
    follow(page, first, "/endpoints/")
    expect(page.locator(".verdict")).to_contain_text("ended")
    look(page, "endpoint-expired")

    follow(page, page.locator("a[href^='/certificates/']").first, "/certificates/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("expired.kc.test")
    look(page, "certificate")
    fingerprint = page.url.rsplit("/", 1)[1]
    with page.expect_download() as pem:
        page.locator(f"a[href='/certificates/{fingerprint}.pem']").click()
    downloaded = Path(pem.value.path()).read_bytes()
    assert x509.load_pem_x509_certificate(downloaded).fingerprint(SHA256()).hex() == fingerprint
    with page.expect_download() as der:
        page.locator(f"a[href='/certificates/{fingerprint}.der']").click()
    assert hashlib.sha256(Path(der.value.path()).read_bytes()).hexdigest() == fingerprint

    page.goto("/certificates")
    look(page, "certificates")

    page.goto("/domains?q=expired")
    page.get_by_label("Select expired").check()
    page.get_by_role("button", name="Stop watching").click()
    expect(page.locator("tr", has_text="expired.kc.test")).to_have_count(0)
    page.goto("/bin")
    look(page, "bin")
    page.get_by_role("button", name="Restore expired").click()
    expect(page.locator("tr", has_text="expired.kc.test")).to_have_count(0)
    page.goto("/domains?q=expired")
    back = page.locator("tr", has_text="expired.kc.test").locator(".c-st")
    expect(back).to_be_visible()
    other = page.context.new_page()  # it was scanned a moment ago and turns when it may be again: meanwhile there is more to see
    other.set_default_timeout(SOON)
    page, watched = other, page

    for name in ("differ", "refusing", "incomplete", "good"):
        page.goto(f"/domains?q={name}")
        follow(page, page.locator("a.name", has_text=name).first, "/endpoints/")
        look(page, f"endpoint-{name}")

    eventually(lambda: len(sink.mails) >= 5)
    assert [subject for subject in sink.subjects() if "expired" in subject] == [
        f"expired.kc.test:{servers.ports['expired']}: its certificate has ended"
    ]
    assert {recipient for recipient, mail in sink.mails if "plain" not in str(mail["Subject"])} == {OWNER}
    page.goto("/mails")
    expect(page.get_by_text("its certificate has ended").first).to_be_visible()
    look(page, "mails")
    page.goto("/ui")
    look(page, "patterns")
    page.goto("/nothing-here")
    look(page, "not-found")

    back = watched.locator("tr", has_text="expired.kc.test").locator(".c-st")
    expect(back).to_have_text("Needs you", timeout=1_000 * SCAN_NOW_EVERY.total_seconds() + SOON)


def test_everything_works_without_javascript(browser: Browser, town: tuple[Street, Sink, Installation]) -> None:
    servers, _, running = town
    sessions = running.sessions()
    with sessions.writing() as session:
        link = create_user(session, TERMINAL, email=PLAIN, operator=False, now=datetime.now(UTC))
        accept_welcome(session, token=link, password_hash=hash_password(PASSWORD), now=datetime.now(UTC))
    sessions.engine.dispose()
    page, _ = open_page(browser, running, javascript=False)
    sign_in(page, PLAIN)
    page.goto("/domains")
    page.get_by_label("Paste names").fill(f"plain.kc.test:{servers.ports['good']}\nnot a name")
    follow(page, page.get_by_role("button", name="Add names"), "/domains")
    expect(page.locator(".results")).to_contain_text("1 added")

    def reloaded() -> bool:
        page.goto("/domains?q=plain")
        return page.locator("tr", has_text="plain.kc.test").locator(".c-st").inner_text() == "Needs you"  # the name does not match

    eventually(reloaded)
    page.get_by_label("Select plain").check()
    follow(page, page.get_by_role("button", name="Stop watching"), "/domains")
    page.goto("/bin")
    follow(page, page.get_by_role("button", name="Restore plain"), "/bin")
    page.goto("/domains?q=plain")
    expect(page.locator("tr", has_text="plain.kc.test")).to_have_count(1)
