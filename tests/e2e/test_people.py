"""People come in, join, change places and go, in a real browser, with mails from a real SMTP server."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from audit.__main__ import main
from tests.dnsserver import bind9
from tests.e2e.test_walk import PASSWORD, SOON, follow, open_page
from tests.oidc import CLIENT, SECRET, idp
from tests.people import shown
from tests.processes import eventually
from tests.stage import Installation, Sink, installation, smtp_sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("people")]
MIRA, VERA = "mira@people.example.org", "vera@people.example.org"
NEW = "another five words here"
Look = Callable[[Page, str], None]
_ADDRESSES = itertools.count(1)
KNOWN_TO_PEOPLE = {PASSWORD, NEW}
"""What people know and no store may hold: their passwords, an app's key, recovery codes, the tokens of mailed links."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sink, Installation]]:
    """An installation where everybody may come in, and names below kc.test lead to this machine."""
    with smtp_sink() as sink, bind9({"kc.test": "* A 127.0.0.1\n"}) as resolver, idp() as provider:
        settings = {
            "KEYCHEST_SMTP_URL": sink.url,
            "KEYCHEST_SIGN_UP": "open",
            "KEYCHEST_TRUSTED_PROXIES": "1",
            "KEYCHEST_RESOLVERS": resolver,
            "KEYCHEST_OIDC_ISSUER": provider.issuer,
            "KEYCHEST_OIDC_CLIENT_ID": CLIENT,
            "KEYCHEST_OIDC_CLIENT_SECRET": SECRET,
            "KEYCHEST_OIDC_NAME": "Harbourlight SSO",
        }
        provider.now = lambda: datetime.now(UTC)
        with installation(tmp_path_factory.mktemp("people") / "data", settings) as running:
            running.await_health()
            yield sink, running
            assert kept_in(running.data, "@people.example.org"), "what is there is found"
            assert "keychest.db" in {name.partition("-")[0] for name in kept_in(running.data, "n7.kc.test")}
            assert kept_in(running.data / "broker", "kc.test") == set(), "the broker carries numbers, and no tenant's names"
            for secret in KNOWN_TO_PEOPLE:
                assert kept_in(running.data, secret) == set(), "a store holds what only people know"


def kept_in(folder: Path, text: str) -> set[str]:
    """The files of an installation, broker, logs and backups among them, that hold this text."""
    return {path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}


def mailed(sink: Sink, to: str, path: str) -> str:
    """The path of the newest link below `path` that was mailed to them, once it came."""

    def found() -> str:
        texts = [mail.get_body(("plain",)).get_content() for recipient, mail in sink.mails if recipient == to]  # type: ignore[union-attr]
        links = [link for text in texts for link in re.findall(rf"http://localhost:\d+({path}\S+)", text)]
        return links[-1] if links else ""

    link = eventually(found, within_s=30)
    KNOWN_TO_PEOPLE.add(link.removeprefix(path))
    return link


def subjects(sink: Sink, to: str) -> list[str]:
    return [str(mail["Subject"]) for recipient, mail in sink.mails if recipient == to]


def somebody(browser: Browser, running: Installation) -> tuple[Page, list[str]]:
    """A person at an address of their own: doors are limited by address."""
    page, said = open_page(browser, running)
    page.set_extra_http_headers({"X-Forwarded-For": f"192.0.2.{next(_ADDRESSES)}"})
    return page, said


def sign_up(page: Page, sink: Sink, email: str) -> None:
    """A new person, in their own account."""
    page.goto("/sign-up")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("button", name="Mail me a link").click()
    page.goto(mailed(sink, email, "/sign-up/"))
    page.get_by_label("Password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Keep this password"), "/domains$")


def fresh_code(secret: str) -> str:
    """A code of a time step that none was used of yet."""
    step = int(time.time()) // 30
    eventually(lambda: int(time.time()) // 30 > step, within_s=31)
    return shown(secret, datetime.now(UTC))


def what_was_done_is_proven(page: Page, look: Look) -> None:
    """An account's own people read all of it, and take along what convinces others; everybody sees that it happened, and not to whom."""
    eventually(
        lambda: (
            page.goto("/activity") is not None and page.get_by_text("Prove it").count() > 0 and not page.get_by_text("Not sealed").count()
        )
    )
    expect(page.get_by_text(f"{MIRA} brought {VERA} back as manager")).to_be_visible()
    look(page, "activity")
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download all").click()
    assert main(["open", str(taken.value.path())]) == 0
    page.get_by_role("link", name="Prove it").first.click()
    expect(page.get_by_text("It holds", exact=True)).to_be_visible()
    look(page, "log-entry")
    page.goto("/log")
    assert VERA not in page.content()
    look(page, "log")


def test_people_come_in_join_change_places_and_go(browser: Browser, house: tuple[Sink, Installation], look: Look) -> None:
    sink, running = house
    mira, said = somebody(browser, running)
    mira.goto("/sign-in")
    follow(mira, mira.get_by_role("link", name="Begin with your address"), "/sign-up$")
    look(mira, "sign-up")
    mira.get_by_label("E-mail address").fill(MIRA)
    mira.get_by_role("button", name="Mail me a link").click()
    expect(mira.get_by_role("heading", name="Look into your mail")).to_be_visible()
    look(mira, "asked")
    mira.goto(mailed(sink, MIRA, "/sign-up/"))
    look(mira, "sign-up-link")
    mira.get_by_label("Password").fill(PASSWORD)
    follow(mira, mira.get_by_role("button", name="Keep this password"), "/domains$")

    mira.goto("/team")
    mira.get_by_label("E-mail address").fill(VERA)
    mira.get_by_role("button", name="Invite by mail").click()
    expect(mira.get_by_text("is on its way to")).to_be_visible()
    vera, vera_said = somebody(browser, running)
    vera.goto(mailed(sink, VERA, "/invitation/"))
    vera.get_by_label("Password").fill(NEW)
    follow(vera, vera.locator("main form button"), "/$")
    vera.goto("/team")
    expect(vera.get_by_role("heading", name="Invite somebody")).to_have_count(0)

    mira.goto("/team")
    expect(mira.get_by_text("The mail was sent")).to_have_count(0)  # it was accepted
    mira.get_by_label(f"Role of {VERA}", exact=True).select_option("manager")
    mira.get_by_role("button", name=f"Change the role of {VERA}").click()
    expect(mira.get_by_text(f"{VERA} is a manager now")).to_be_visible()
    mira.get_by_role("button", name=f"Remove {VERA}").click()
    expect(mira.get_by_role("heading", name="Left in the last 30 days")).to_be_visible()
    assert vera.goto("/domains").status == 403  # type: ignore[union-attr]
    mira.get_by_role("button", name=f"Bring {VERA} back").click()
    expect(mira.get_by_role("button", name=f"Remove {VERA}")).to_be_visible()
    remove_many(mira, vera, look)
    what_was_done_is_proven(mira, look)
    eventually(lambda: len(subjects(sink, VERA)) == 6)
    assert sorted(subjects(sink, VERA)[1:]) == [
        "30 names of people.example.org are to be removed",
        "30 names were removed",
        "You are a manager of people.example.org now",
        "You belong to people.example.org again",
        "You do not belong to people.example.org any more",
    ]
    assert said == []
    assert vera_said == ["Failed to load resource: the server responded with a status of 403 (FORBIDDEN)"]


def remove_many(one: Page, other: Page, look: Look) -> None:
    """One asks for it with their password, the other says yes, and the first brings the names back."""
    one.goto("/domains")
    one.get_by_label("Names").fill("\n".join(f"n{number}.kc.test" for number in range(30)))
    one.get_by_role("button", name="Add").click()
    expect(one.locator("input[type=checkbox][name=ref]")).to_have_count(30)
    expect(one.locator("tbody").get_by_text("Checking")).to_have_count(0, timeout=SOON)  # a row that settles loses its tick
    one.goto("/domains")
    for box in one.locator("input[type=checkbox][name=ref]").all():
        box.check()
    one.get_by_role("button", name="Stop watching").click()
    expect(one.get_by_role("heading", name="Stop watching 30 names?")).to_be_visible()
    look(one, "prove")
    one.get_by_label("Your password").fill(PASSWORD)
    follow(one, one.get_by_role("button", name="Stop watching them"), "/approvals$")
    other.goto("/domains")
    follow(other, other.get_by_role("link", name="Look at it"), "/approvals$")
    look(other, "approvals")
    other.get_by_role("button", name="Yes, remove them").click()
    expect(other.get_by_text("names: approved")).to_be_visible()
    one.goto("/domains")
    expect(one.locator("input[type=checkbox][name=ref]")).to_have_count(0)
    one.goto("/bin")
    for box in one.locator("input[type=checkbox][name=ref]").all():
        box.check()
    one.get_by_role("button", name="Restore", exact=True).click()
    expect(one.get_by_text(re.compile(r"30\s+names brought back"))).to_be_visible()
    one.goto("/domains")
    expect(one.locator("input[type=checkbox][name=ref]")).to_have_count(30)


def test_an_app_is_set_up_used_and_not_gone_round_by_a_mailed_link(
    browser: Browser, house: tuple[Sink, Installation], look: Look, tmp_path: Path
) -> None:
    sink, running = house
    noa, said = somebody(browser, running)
    sign_up(noa, sink, "noa@people.example.org")
    noa.goto("/security")
    look(noa, "security")
    follow(noa, noa.get_by_role("link", name="Add a passkey or an app"), "/security/app$")
    noa.get_by_label("Your password", exact=True).last.fill(PASSWORD)
    noa.get_by_role("button", name="Set an app up").click()
    picture = noa.get_by_role("img", name="QR code with the key that stands below")
    expect(picture).to_be_visible()
    look(noa, "app-begun")
    secret = "".join(noa.locator("code.fp").inner_text().split())
    noa.get_by_label("Code that the app shows").fill(shown(secret, datetime.now(UTC)))
    noa.get_by_role("button", name="Use this app").click()
    expect(noa.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    look(noa, "recovery-codes")
    code = noa.locator("ul.mono li").first.inner_text()
    KNOWN_TO_PEOPLE.update({secret, code, code.replace("-", "")})

    other, _ = somebody(browser, running)
    other.goto("/sign-in")
    follow(other, other.get_by_role("link", name="Forgotten?"), "/forgot$")
    other.get_by_label("E-mail address").fill("noa@people.example.org")
    other.get_by_role("button", name="Mail me a link").click()
    other.goto(mailed(sink, "noa@people.example.org", "/reset/"))
    other.get_by_label("Password").fill(NEW)
    follow(other, other.get_by_role("button", name="Keep this password"), "/sign-in/code$")
    look(other, "code")
    other.goto("/domains")
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    other.goto("/sign-in/code")
    other.get_by_label("Code").fill(fresh_code(secret))
    follow(other, other.get_by_role("button", name="Sign in"), "/$")

    third, _ = somebody(browser, running)
    third.goto("/sign-in")
    third.get_by_label("E-mail address").fill("noa@people.example.org")
    third.get_by_label("Password").fill(NEW)
    follow(third, third.get_by_role("button", name="Sign in"), "/sign-in/code$")
    third.get_by_label("Code").fill(code)
    follow(third, third.get_by_role("button", name="Sign in"), "/$")
    assert said == []


def test_a_passkey_is_made_and_signs_in_with_nothing_to_type(browser: Browser, house: tuple[Sink, Installation], look: Look) -> None:
    sink, running = house
    kim, said = somebody(browser, running)
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
    wires = kim.context.new_cdp_session(kim)
    wires.send("WebAuthn.enable")
    made = wires.send("WebAuthn.addVirtualAuthenticator", {"options": {**device, "automaticPresenceSimulation": True}})
    sign_up(kim, sink, "kim@people.example.org")
    kim.goto("/security/app")
    look(kim, "factors")
    kim.get_by_label("What to call it").fill("Work laptop")
    kim.get_by_label("Your password", exact=True).first.fill(PASSWORD)
    kim.get_by_role("button", name="Add a passkey").click()
    expect(kim.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    expect(kim.get_by_text("Work laptop")).to_be_visible()
    look(kim, "passkey-added")
    assert len(wires.send("WebAuthn.getCredentials", {"authenticatorId": made["authenticatorId"]})["credentials"]) == 1

    kim.get_by_role("button", name="kim@people.example.org").click()
    follow(kim, kim.get_by_role("button", name="Sign out"), "/sign-in$")
    look(kim, "sign-in")
    kim.get_by_role("button", name="Use a passkey").click()
    kim.wait_for_url(re.compile("/$"))
    expect(kim.get_by_role("heading", name="Sign in")).to_have_count(0)

    wires.send("WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": False})
    kim.get_by_role("button", name="kim@people.example.org").click()
    follow(kim, kim.get_by_role("button", name="Sign out"), "/sign-in$")
    kim.get_by_label("E-mail address").fill("kim@people.example.org")
    kim.get_by_label("Password").fill(PASSWORD)
    follow(kim, kim.get_by_role("button", name="Sign in", exact=True), "/sign-in/code$")
    look(kim, "passkey-after-password")
    kim.get_by_role("button", name="Use a passkey").click()
    expect(kim.get_by_text("Your device did not answer, or you said no")).to_be_visible()
    look(kim, "passkey-refused")
    wires.send("WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": True})
    kim.get_by_role("button", name="Ask again").click()
    kim.wait_for_url(re.compile("/$"))
    assert said == []


def test_a_provider_s_word_signs_in_with_nothing_typed_here(browser: Browser, house: tuple[Sink, Installation], look: Look) -> None:
    sink, running = house
    nia, said = somebody(browser, running)
    nia.goto("/domains")
    nia.get_by_label("Stay signed in").check()
    nia.get_by_role("button", name="Continue with Harbourlight SSO").click()
    expect(nia.get_by_role("heading", name="Harbourlight SSO")).to_be_visible()
    follow(nia, nia.get_by_role("link", name="I am Nia"), "/domains$")
    eventually(lambda: subjects(sink, "nia@harbour.example.org") == ["Harbourlight SSO is connected to KeyChest"])
    nia.go_back()
    expect(nia.get_by_role("heading", name="Harbourlight SSO")).to_be_visible()  # not the page between, which would post again
    nia.goto("/security")
    expect(nia.get_by_text("To disconnect it, choose a password first")).to_be_visible()
    look(nia, "provider-without-a-password")
    follow(nia, nia.get_by_role("link", name="Choose a password"), "/forgot$")

    lou, lou_said = somebody(browser, running)
    sign_up(lou, sink, "lou@people.example.org")
    lou.goto("/security")
    look(lou, "provider")
    lou.get_by_role("region", name="Harbourlight SSO").get_by_label("Your password").fill(PASSWORD)
    lou.get_by_role("button", name="Connect Harbourlight SSO").click()
    follow(lou, lou.get_by_role("link", name="I am Nia"), "/security$")
    expect(lou.get_by_text("is connected to somebody else here")).to_be_visible()
    look(lou, "provider-refused")
    lou.goto("/sign-in/oidc/callback?state=x&code=y")
    look(lou, "provider-of-another-browser")
    assert said == []
    assert [each for each in lou_said if "422" not in each] == []
