from __future__ import annotations

import json
import re
from datetime import timedelta
from html import escape
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.imports import hand_in
from core.scanner.facts import Failure, FailureKind, Observation, OtherKey, Scan, Stage, Target, Tls
from core.store.endpoints import Schedule
from core.store.imported import import_by_ref
from core.store.imports import ImportedObservation
from core.store.observations import Finding
from core.store.watches import Watch
from demo.pki import make_chain, make_root
from tests.make import NOW, REFUSED, run_scans
from tests.portal.conftest import Site, post
from tests.scenes import Served, roots_of, scan_all

DAY = timedelta(days=1)
HTMX = {"HX-Request": "true"}


def _served(site: Site, name: str = "shop.example") -> str:
    (ref,) = site.add(name)
    cn = name if len(name) <= 64 else None  # RFC 5280 appendix A.1, ub-common-name
    new, old = make_chain([name], cn=cn), make_chain([name], cn=cn, not_before=NOW - 85 * DAY, not_after=NOW + 5 * DAY)
    seen: dict[str, Served] = {name: {"192.0.2.1": new.ders, "192.0.2.2": new.ders, "2001:db8::4": old.ders, "192.0.2.9": REFUSED}}
    scan_all(site.sessions, seen, roots_of(new, old), NOW + timedelta(seconds=10))
    return ref


@pytest.mark.parametrize("role", ["owner", "manager", "viewer"])
def test_members_see_how_it_stands(site: Site, role: str) -> None:
    ref = _served(site)
    page = site.client(role).get(f"/endpoints/{ref}")
    assert page.status_code == 200
    told = (
        "This certificate ends on 28 Nov 2026", "192.0.2.1", "2001:<wbr>db8:<wbr>:<wbr>4", REFUSED.message, "X25519MLKEM768", "TLS 1.3",
        "Root, not served, trusted", "Test Root", "found nothing", "Lifetime of B", "Certificate A at 2\u00a0addresses", "CERT-EXPIRING",
    )  # fmt: skip
    for words in told:
        assert words in page.text, words
    assert ("/scan" in page.text, "/domains/remove" in page.text) == ((role != "viewer"),) * 2


@pytest.mark.parametrize("role", ["stranger", "nobody"])
def test_others_do_not(site: Site, role: str) -> None:
    ref = _served(site)
    client = site.client(role)
    page, absent = client.get(f"/endpoints/{ref}"), client.get("/endpoints/aaaaaaaaaaaaaaaa")
    assert (page.status_code, absent.status_code) == ((404, 404) if role == "stranger" else (303, 303))
    assert page.text.replace(ref, "") == absent.text.replace("aaaaaaaaaaaaaaaa", "")
    assert "shop.example" not in page.text


def test_the_worst_finding_comes_first_with_its_fix(site: Site) -> None:
    page = site.client("owner").get(f"/endpoints/{_served(site)}").text
    findings = page[page.index("h-findings") :]
    assert findings.index("mark bad") < findings.index("mark soon")
    assert re.search(r"<details class=\"disc\" open><summary>Fix</summary>", findings)


def test_letters_go_by_how_many_addresses_serve_a_certificate(site: Site) -> None:
    page = site.client("owner").get(f"/endpoints/{_served(site)}").text
    table = page[page.index("h-addresses") : page.index("</table>")]
    assert table.count('class="cell fa"') == 2
    assert table.count('class="cell fb"') == 1
    assert table.count('class="cell fn"') == 1


def test_it_asks_for_itself_while_a_scan_is_pending_and_no_longer_after(site: Site) -> None:
    (ref,) = site.add("shop.example")
    client = site.client("viewer")
    first = client.get(f"/endpoints/{ref}", headers=HTMX).text
    assert f'hx-get="/endpoints/{ref}"' in first
    assert "The first scan is under way." in first
    assert "<html" not in first
    assert "Vary" in client.get(f"/endpoints/{ref}").headers
    chain = make_chain(["shop.example"])
    scan_all(site.sessions, {"shop.example": {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + timedelta(seconds=10))
    settled = client.get(f"/endpoints/{ref}", headers=HTMX).text
    assert "hx-get" not in settled
    assert "Well until" in settled
    assert 'id="standing"' in settled


@pytest.mark.slow
def test_scan_now_is_asked_for_once_and_not_too_soon(site: Site) -> None:
    ref = _served(site)
    owner = site.client("owner")
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW - timedelta(hours=1), requested_at=NOW - timedelta(hours=2)))
    answer = post(owner, f"/endpoints/{ref}/scan")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/endpoints/{ref}")
    page = owner.get(f"/endpoints/{ref}").text
    assert "A scan was asked for." in page
    assert "Scanning" in page
    post(owner, f"/endpoints/{ref}/scan")
    assert "A scan is under way." in owner.get(f"/endpoints/{ref}").text
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW + timedelta(seconds=50), requested_at=NOW))
    post(owner, f"/endpoints/{ref}/scan")
    page = owner.get(f"/endpoints/{ref}").text
    assert "less than 30 seconds ago" in page
    assert "Scanning" not in page


@pytest.mark.parametrize(("role", "status"), [("manager", 303), ("viewer", 403), ("stranger", 404), ("nobody", 303)])
def test_who_may_ask_for_a_scan(site: Site, role: str, status: int) -> None:
    ref = _served(site)
    with site.sessions.writing() as session:
        session.execute(sa.update(Schedule).values(last_scanned_at=NOW - timedelta(hours=1), requested_at=None))
    assert post(site.client(role), f"/endpoints/{ref}/scan").status_code == status
    with site.sessions.reading() as session:
        asked = session.scalars(sa.select(Schedule.requested_at)).one()
    assert (asked is not None) == (role == "manager")


def test_a_scan_is_not_asked_for_without_a_token_or_by_get(site: Site) -> None:
    ref = _served(site)
    owner = site.client("owner")
    assert owner.post(f"/endpoints/{ref}/scan").status_code in {400, 403}
    assert owner.get(f"/endpoints/{ref}/scan").status_code == 405


@pytest.mark.slow
def test_history_goes_back_to_the_beginning_page_by_page(site: Site) -> None:
    (ref,) = site.add("shop.example")
    chains = [make_chain(["shop.example"]) for _ in range(20)]
    for minute, chain in enumerate(chains, 1):
        scan_all(site.sessions, {"shop.example": {"192.0.2.1": chain.ders}}, roots_of(*chains), NOW + timedelta(minutes=minute))
    client = site.client("viewer")
    path, seen = f"/endpoints/{ref}", []
    for _ in range(3):
        page = client.get(path).text
        lines = page[page.index('id="history"') :]
        seen += re.findall(r'href="/certificates/([0-9a-f]{64})"', lines)
        older = re.search(r'href="(/endpoints/[^"]+)#history">Older', lines)
        if older is None:
            assert "The watch began" in lines
            break
        path = older[1].replace("&amp;", "&")
    assert seen == [chain.leaf.sha256 for chain in reversed(chains)]
    assert client.get(f"/endpoints/{ref}?before=nonsense").status_code == 200


@pytest.mark.slow
def test_what_ends_by_removal_is_not_told_as_cured(site: Site) -> None:
    (ref,) = site.add("shop.example")
    old = make_chain(["shop.example"], not_before=NOW - 85 * DAY, not_after=NOW - DAY)
    scan_all(site.sessions, {"shop.example": {"192.0.2.1": old.ders}}, roots_of(old), NOW + timedelta(seconds=10))
    owner = site.client("owner")
    post(owner, "/domains/remove", {"ref": ref})
    post(owner, "/domains/restore", {"ref": ref})
    page = owner.get(f"/endpoints/{ref}").text
    lines = page[page.index('id="history"') :]
    assert "Not watched any more: " in lines
    assert "Over: " not in lines
    assert "mark paused" in lines


@pytest.mark.slow
def test_what_ends_by_a_cure_is_over(site: Site) -> None:
    (ref,) = site.add("shop.example")
    old, new = make_chain(["shop.example"], not_before=NOW - 85 * DAY, not_after=NOW - DAY), make_chain(["shop.example"])
    for minute, chain in enumerate((old, new), 1):
        scan_all(site.sessions, {"shop.example": {"192.0.2.1": chain.ders}}, roots_of(old, new), NOW + timedelta(minutes=minute))
    page = site.client("owner").get(f"/endpoints/{ref}").text
    assert "Over: " in page
    assert "Not watched any more" not in page


def test_addresses_without_a_certificate_are_not_judged_and_not_called_well(site: Site) -> None:
    (ref,) = site.add("shop.example")
    chain = make_chain(["shop.example"])
    seen: dict[str, Served] = {"shop.example": {"192.0.2.1": chain.ders, "192.0.2.2": REFUSED, "192.0.2.3": REFUSED}}
    scan_all(site.sessions, seen, roots_of(chain), NOW + timedelta(seconds=10))
    page = site.client("owner").get(f"/endpoints/{ref}").text
    assert "2\u00a0addresses were not judged" in page
    assert "Nothing was found</span>" not in page
    scan_all(site.sessions, {"shop.example": {"192.0.2.1": chain.ders}}, roots_of(chain), NOW + timedelta(seconds=20))
    page = site.client("owner").get(f"/endpoints/{ref}").text
    assert "Nothing was found</span>" in page
    assert "not judged" not in page


def test_a_refused_address_says_who_can_allow_it(site: Site) -> None:
    (ref,) = site.add("intern.example")
    refused = Failure(FailureKind.REFUSED_ADDRESS, Stage.GUARD, "10.0.0.1 is a private address.")
    scan_all(
        site.sessions, {"intern.example": {"10.0.0.1": refused}}, roots_of(make_chain(["intern.example"])), NOW + timedelta(seconds=10)
    )
    page = site.client("owner").get(f"/endpoints/{ref}").text
    assert "<code>KEYCHEST_SCAN_ALLOW</code>" in page
    assert "<code>KEYCHEST_SCAN_ALLOW_ACCOUNTS</code>" in page
    assert "Look whether the server runs" not in page


def test_another_account_sees_nothing_from_before_its_watch_began(site: Site) -> None:
    ref = _served(site)
    with site.sessions.writing() as session:
        session.execute(sa.update(Finding).values(message="canary of the owner's time"))
        session.execute(sa.update(Watch).where(Watch.ref == ref).values(sentence="canary of the owner's time"))
    (theirs,) = site.add("shop.example", role="stranger", now=NOW + timedelta(seconds=30))
    page = site.client("stranger").get(f"/endpoints/{theirs}").text
    for canary in ("canary", "192.0.2.1", "2001:", "/certificates/", "CERT-", "14 Oct"):
        assert canary not in page, canary


def test_a_name_of_253_characters_is_whole_on_its_own_page(site: Site) -> None:
    name = ".".join(["a" * 61] * 4 + ["b" * 5])
    assert len(name) == 253
    page = site.client("owner").get(f"/endpoints/{_served(site, name)}")
    assert page.status_code == 200
    assert name.replace(".", ".<wbr>") in page.text


@pytest.mark.slow
def test_naughty_strings_stay_text(site: Site, shared: Path) -> None:
    ref = _served(site)
    strings = [text for text in json.loads((shared / "vectors/text/blns.json").read_text()) if text.strip()]
    client = site.client("owner")
    for start in range(0, len(strings), 60):
        words = " ".join(strings[start : start + 60]).replace("\x00", "\\0")
        with site.sessions.writing() as session:
            session.execute(sa.update(Finding).values(message=words, cause=words, fix=words))
            session.execute(sa.update(Watch).values(sentence=words))
        page = client.get(f"/endpoints/{ref}")
        assert page.status_code == 200
        assert_only_our_markup(page.text)


@pytest.mark.slow
def test_one_machine_is_watched_by_its_address(site: Site) -> None:
    ref = _served(site)
    client = site.client("owner")
    assert "Watch one machine by its address" in client.get(f"/endpoints/{ref}").text
    assert "Watch one machine" not in site.client("viewer").get(f"/endpoints/{ref}").text
    answer = post(client, f"/endpoints/{ref}/machine", {"address": " 2001:DB8::4 "})
    assert answer.status_code == 303
    page = client.get(answer.headers["Location"]).text
    assert "2001:db8::4 is watched on its own from now on." in page
    assert "whatever the DNS says" in page
    assert "Watch one machine" not in page
    with site.sessions.reading() as session:
        watches = session.execute(sa.select(Watch.name, Watch.port, Watch.address).order_by(Watch.id)).all()
    assert [tuple(row) for row in watches] == [("shop.example", 443, ""), ("shop.example", 443, "2001:db8::4")]
    again = post(client, f"/endpoints/{ref}/machine", {"address": "2001:db8::4"})
    assert again.headers["Location"] == answer.headers["Location"]
    assert "is watched on its own already. Nothing changed." in client.get(again.headers["Location"]).text


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["", "shop.example", "192.0.2.300", "fe80::1%eth0", "<b>"])
def test_what_is_no_address_comes_back_with_a_sentence(site: Site, typed: str) -> None:
    answer = post(site.client("owner"), f"/endpoints/{_served(site)}/machine", {"address": typed})
    assert answer.status_code == 422
    assert "Write " in answer.text
    assert f'value="{escape(typed)}"' in answer.text
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Watch)) == 1


def test_two_certificates_of_one_address_are_two_rows_and_say_which_is_which(site: Site) -> None:
    (ref,) = site.add("shop.example")
    root = make_root(now=NOW)
    fresh = make_chain(["shop.example"], root=root, not_before=NOW - 2 * DAY, not_after=NOW + 88 * DAY, now=NOW)
    old = make_chain(["shop.example"], root=root, key="rsa2048", not_before=NOW - 65 * DAY, not_after=NOW + 25 * DAY, now=NOW)
    seen = tuple(
        Observation("192.0.2.1", "local", tls=Tls("TLSv1.3", "", "", ""), chain=chain.ders, key_asked=asked)
        for chain, asked in ((fresh, ""), (old, "RSA"))
    )
    look = Scan(Target("shop.example"), NOW + timedelta(seconds=10), (), seen)
    with site.sessions.writing() as session:
        run_scans(session, lambda _: look, roots=roots_of(fresh), now=look.scanned_at)
    page = site.client("owner").get(f"/endpoints/{ref}").text
    rows = re.findall(r'<tr role="row"><th role="rowheader".*?</tr>', page, re.DOTALL)
    assert ["asked for RSA" in row for row in rows] == [False, True]
    assert ["mark soon" in row for row in rows] == [False, True]
    assert "The RSA certificate was not renewed with the ECDSA one" in page
    assert "Certificate B. At" in page
    assert "when only RSA is offered" in page
    later = Scan(Target("shop.example", other_key=OtherKey.EXPECTED), NOW + timedelta(hours=9), (), seen[:1])
    with site.sessions.writing() as session:
        run_scans(session, lambda _: later, roots=roots_of(fresh), now=later.scanned_at)
    page = site.client("owner").get(f"/endpoints/{ref}").text
    assert 'No second certificate any more: <span class="mono">192.0.2.1</span> showed one when only RSA was offered' in page
    assert "Not an address of this name any more" not in page


TAG = re.compile(r"<\s*/?\s*([a-zA-Z!][\w:-]*)([^>]*)>")
OURS = {
    "!doctype", "a", "b", "bdi", "body", "br", "button", "caption", "circle", "code", "dd", "details", "div", "dl", "dt",
    "footer", "form", "h1", "h2", "h3", "head", "header", "hr", "html", "input", "label", "li", "line", "link", "main", "meta", "nav",
    "noscript", "ol", "p", "pre", "rect", "script", "section", "small", "span", "summary", "svg", "table", "tbody", "td", "template",
    "option", "select", "text", "textarea", "th", "thead", "time", "title", "tr", "ul", "use", "wbr",
}  # fmt: skip


def assert_only_our_markup(page: str) -> None:
    """No element, handler or character that we did not write."""
    for tag, rest in TAG.findall(page):
        assert tag.lower() in OURS, tag
        assert not re.search(r"\son\w+\s*=|javascript:", re.sub(r'"[^"]*"', '""', rest), re.IGNORECASE), rest
    assert page.count("<script") == page.count("<script defer src=") == 2 * page.count("<html")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x0b\x0c\x0e-\x1f]", page)


def test_what_was_seen_elsewhere_is_read_back_to_its_beginning(site: Site) -> None:
    """45 lines that an import brought, three of one instant: each is there once, and nobody else's."""
    (ref,) = site.add("shop.example")
    actor = site.actors["owner"]
    with site.sessions.writing() as session:
        ref_of = hand_in(session, actor, name="a.zip", size=1, sha256="0" * 64, now=NOW)
        row = import_by_ref(session, actor.account_id or 0, ref_of)
        assert row is not None
        row.state, row.applied_at = "applied", NOW
        line = json.dumps({"failure": {"message": "No."}, "tls": None, "chain": None})
        session.add_all(
            ImportedObservation(
                account_id=row.account_id, import_id=row.id, name="shop.example", port=443, starttls="", fixed="", perspective="local",
                address=f"192.0.2.{number}", key_asked="", seen_at=NOW - number // 3 * DAY, content_sha256=f"{number:064x}", line=line,
            )
            for number in range(45)
        )  # fmt: skip
    seen: list[str] = []
    path = f"/endpoints/{ref}"
    while path:
        page = site.client("viewer").get(path).text
        seen += re.findall(r'data-l="Address">([0-9.]+)<', page.replace("<wbr>", ""))
        older = re.search(r'href="(/endpoints/[^"]+elsewhere=[^"]+)#elsewhere">Older lines', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert "Newest lines" in page
    assert sorted(seen) == sorted(f"192.0.2.{number}" for number in range(45))
