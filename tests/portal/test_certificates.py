from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from core.actions.domains import add_domains
from core.net.names import Listed
from core.perspective import LOCAL
from core.scanner.certificate import read_certificate
from core.scanner.facts import Observation as Seen
from core.scanner.facts import Scan, Target, Tls, sha256
from core.store.endpoints import Endpoint
from core.store.leaves import keep_leaves
from core.store.observations import Certificate, Current, Observation
from demo.pki import Chain, make_chain, make_root
from tests.make import NOW, run_scans
from tests.portal.conftest import Site
from tests.portal.test_endpoints import HTMX, assert_only_our_markup
from tests.scenes import roots_of, scan_all
from tests.vectors import VECTORS, ders_of, needs

SOON = NOW + timedelta(seconds=10)


def _serve(site: Site, chain: Chain, name: str = "shop.example", role: str = "owner") -> str:
    site.add(name, role=role)
    scan_all(site.sessions, {name: {"192.0.2.1": chain.ders}}, roots_of(chain), SOON)
    return chain.leaf.sha256


def _serve_raw(site: Site, ders: list[bytes]) -> None:
    """Certificates as current at addresses of one endpoint, whatever their bytes are."""
    site.add("odd.example")
    with site.sessions.writing() as session:
        endpoint_id = session.scalars(sa.select(Endpoint.id).where(Endpoint.name == "odd.example")).one()
        for number, der in enumerate({sha256(der): der for der in ders}.values()):
            cert = read_certificate(der)
            session.add(
                Certificate(
                    sha256=cert.sha256, der=der, first_seen_at=SOON, subject=cert.subject, issuer=cert.issuer, serial=cert.serial,
                    not_before=cert.not_before, not_after=cert.not_after, key=cert.key, spki_sha256=cert.spki_sha256,
                    unreadable=list(cert.unreadable),
                )
            )  # fmt: skip
            session.flush()
            seen = Observation(
                endpoint_id=endpoint_id, perspective=LOCAL, address=f"::{number:x}", seen_at=SOON, content_sha256=cert.sha256
            )
            seen.leaf_sha256, seen.chain = cert.sha256, [cert.sha256]
            session.add(seen)
            session.flush()
            now = Current(endpoint_id=endpoint_id, perspective=LOCAL, address=seen.address, observation_id=seen.id, last_seen_at=SOON)
            now.path = []
            session.add(now)
        session.flush()
        keep_leaves(session, [endpoint_id])


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "manager", "viewer"])
def test_members_see_all_that_is_served_and_each_of_it(site: Site, role: str) -> None:
    digest = _serve(site, make_chain(["shop.example"]))
    client = site.client(role)
    every, one = client.get("/certificates"), client.get(f"/certificates/{digest}")
    assert (every.status_code, one.status_code) == (200, 200)
    assert f"/certificates/{digest}" in every.text
    for words in ("Subject", "Issuer", "Valid from", "EC P-256", "ecdsa-with-SHA256", "Serial number",
                  "digital signature; server authentication", "192.0.2.1", "Chain as served",
                  "Test Intermediate", "In your list", "Before and after"):  # fmt: skip
        assert words in one.text, words


@pytest.mark.slow
@pytest.mark.parametrize(("role", "status"), [("stranger", 404), ("nobody", 303)])
def test_others_see_neither_it_nor_its_files_nor_that_it_exists(site: Site, role: str, status: int) -> None:
    chain = make_chain(["shop.example"])
    digest = _serve(site, chain)
    client = site.client(role)
    for known in (digest, chain.intermediates[0].sha256):
        for end in ("", ".pem", ".der", ".txt", "-chain.pem"):
            page, absent = client.get(f"/certificates/{known}{end}"), client.get(f"/certificates/{'0' * 64}{end}")
            assert (page.status_code, absent.status_code) == (status, status), end
            assert page.text.replace(known, "") == absent.text.replace("0" * 64, "")
    page = client.get("/certificates?q=shop")
    assert "/certificates/" not in page.text.replace('href="/certificates"', "")
    assert digest[:8] not in page.text


@pytest.mark.slow
def test_two_accounts_with_the_same_certificate_see_only_their_own_places(site: Site) -> None:
    chain = make_chain(["mine.example", "theirs.example"])
    site.add("mine.example")
    site.add("theirs.example", role="stranger")
    seen = {"mine.example": {"192.0.2.1": chain.ders}, "theirs.example": {"192.0.2.77": chain.ders}}
    scan_all(site.sessions, seen, roots_of(chain), SOON)
    page = site.client("owner").get(f"/certificates/{chain.leaf.sha256}").text
    assert "192.0.2.1" in page
    assert "192.0.2.77" not in page
    assert re.search(r'In your list <span class="n">1\s', page.replace("\u00a0", " "))


@pytest.mark.slow
def test_files_are_what_was_served_and_never_shown_in_the_page(site: Site) -> None:
    chain = make_chain(["shop.example"])
    digest = _serve(site, chain)
    client = site.client("viewer")
    pem, der, text, whole = (client.get(f"/certificates/{digest}{end}") for end in (".pem", ".der", ".txt", "-chain.pem"))
    assert pem.data == chain.leaf.pem
    assert der.data == chain.leaf.der
    assert whole.data == chain.pem
    assert "shop.example" in text.text
    kinds = [answer.headers["Content-Type"] for answer in (pem, der, text, whole)]
    assert kinds == ["application/x-pem-file", "application/pkix-cert", "text/plain; charset=utf-8", "application/pem-certificate-chain"]
    for answer in (pem, der, text, whole):
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="{digest[:16]}')
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
    assert client.get(f"/certificates/{digest}.exe").status_code == 404
    assert client.get(f"/certificates/{digest.upper()}").status_code == 404
    assert client.get("/certificates/..%2f..%2fetc%2fpasswd").status_code == 404


@pytest.mark.slow
def test_a_place_says_how_it_is_reached_and_a_pair_is_neither_before_nor_after_itself(site: Site) -> None:
    with site.sessions.writing() as session:
        add_domains(session, site.actors["owner"], listed=[Listed("mail.example", 25, "smtp")], private_ranges=False, now=NOW)
    root = make_root(now=NOW)
    first, second = (make_chain(["mail.example"], root=root, key=key, now=NOW) for key in ("p256", "rsa2048"))
    seen = tuple(
        Seen("192.0.2.1", "local", tls=Tls("TLSv1.3", "", "", ""), chain=chain.ders, key_asked=asked)
        for chain, asked in ((first, ""), (second, "RSA"))
    )
    look = Scan(Target("mail.example", 25, "smtp"), NOW + timedelta(seconds=10), (), seen)
    with site.sessions.writing() as session:
        run_scans(session, lambda _: look, roots=roots_of(first), now=look.scanned_at)
    client = site.client("owner")
    for chain, asked in ((first, False), (second, True)):
        page = client.get(f"/certificates/{chain.leaf.sha256}").text
        assert '<span class="how">smtp</span>' in page
        assert ("when only RSA is offered" in page) is asked
        assert "No other certificate was seen at the same addresses" in page


@pytest.mark.slow
def test_an_intermediate_has_a_page_of_its_own(site: Site) -> None:
    chain = make_chain(["shop.example"])
    _serve(site, chain)
    page = site.client("owner").get(f"/certificates/{chain.intermediates[0].sha256}")
    assert page.status_code == 200
    assert "Served in the chains of" in page.text
    assert "Before and after" not in page.text


@pytest.mark.slow
def test_a_thousand_names_come_in_groups_a_hundred_at_a_time(site: Site) -> None:
    chain = make_chain(["shop.example", "*.shop.example", *(f"n{number}.example" for number in range(1_000))])
    digest = _serve(site, chain)
    client = site.client("owner")
    page = client.get(f"/certificates/{digest}").text.replace("\u00a0", " ")
    assert "and 1,001 other names" in page
    assert "1,001 names, first 100 shown" in page
    assert page.count("<bdi>n") == 99  # and the wildcard
    more = re.search(rf'href="(/certificates/{digest}\?shown=\d+)#names"', page)
    assert more is not None
    assert client.get(more[1]).text.count("<bdi>n") == 499
    found = client.get(f"/certificates/{digest}?names=N99", headers=HTMX).text
    assert found.count("<bdi>n") == 11  # n99 and n990 to n999
    assert "<html" not in found
    assert "No name in it has" in client.get(f"/certificates/{digest}?names=%3Cb%3E").text
    for odd in ("-1", "1e9", "99999999999999999999", "x"):
        assert client.get(f"/certificates/{digest}?shown={odd}").status_code == 200


@pytest.mark.slow
def test_names_in_other_scripts_are_shown_both_ways_and_mixed_ones_are_told(site: Site) -> None:
    digest = _serve(site, make_chain(["shop.example", "xn--bcher-kva.example", "xn--hrbour-3nf.example"]))
    page = site.client("owner").get(f"/certificates/{digest}").text
    assert "bücher." in page
    assert "xn--bcher-kva." in page
    assert page.count("Mixed scripts") == 1


@pytest.mark.slow
def test_addresses_in_a_certificate_are_clickable_only_when_they_are_http(site: Site) -> None:
    places = ["javascript:alert(1)", "http://ca.example/issuer.der", "ldap://ca.example/x", "data:text/html,x"]
    access = x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(place)) for place in places]
    )
    digest = _serve(site, make_chain(["shop.example"], extensions=[(access, False)]))
    page = site.client("owner").get(f"/certificates/{digest}").text
    assert re.findall(r'<a[^>]* href="((?!/|#)[^"]*)"([^>]*)>', page) == [
        ("http://ca.example/issuer.der", ' rel="noopener noreferrer" target="_blank"')
    ]
    for place in places:
        assert place in page


HOSTILE = {
    "html": "</dd><script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)',
    "nul": "pay\x00pal",
    "direction": "exe.\u202egnp",
    "zero width": "pay\u200bpal",
    "template": "{{ 7*7 }}{% for x in y %}",
    "long": "x" * 64_000,
    "controls": "\x1b[31mred\r\nSet-Cookie: a=b",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_subjects_stay_text(site: Site, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptography.x509.name._NAMEOID_LENGTH_LIMIT", {})  # a CA that does not keep to 64 characters
    chain = make_chain(["shop.example"], cn=words, organisation=words)
    digest = _serve(site, chain)
    client = site.client("owner")
    with site.sessions.reading() as session:
        (endpoint,) = session.execute(sa.text("SELECT ref FROM watches")).scalars()
    for path in ("/certificates", f"/certificates/{digest}", f"/endpoints/{endpoint}", "/"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert_only_our_markup(page.text)
        assert len(page.data) < 300_000, path
    text = client.get(f"/certificates/{digest}.txt")
    assert text.status_code == 200
    assert "\x00" not in text.text


@pytest.mark.slow
def test_no_subject_and_no_names_at_all(site: Site) -> None:
    digest = _serve(site, make_chain([], cn=None, san=None))
    client = site.client("owner")
    page = client.get(f"/certificates/{digest}").text
    assert "<h1>No name" in page
    assert "empty" in page
    assert "It names no host." in page
    assert "No common name" in client.get("/certificates").text


@pytest.mark.slow
def test_bytes_that_are_no_certificate_are_kept_and_named(site: Site) -> None:
    _serve_raw(site, [b"this is no certificate"])
    digest = sha256(b"this is no certificate")
    client = site.client("viewer")
    page = client.get(f"/certificates/{digest}")
    assert page.status_code == 200
    assert "Unreadable certificate" in page.text
    assert "The whole certificate" in page.text
    assert "Could not be read" in page.text
    assert client.get(f"/certificates/{digest}.der").data == b"this is no certificate"
    assert "could not be read" in client.get("/certificates").text


@pytest.mark.slow
@needs("oddcerts")
@pytest.mark.parametrize("one_in", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_every_odd_certificate_has_a_page(site: Site, one_in: int) -> None:
    ders = [der for path in sorted((VECTORS / "oddcerts").iterdir()) for der in ders_of(path)]
    assert len(ders) > 300
    ders = ders[::one_in]
    _serve_raw(site, ders)
    client = site.client("viewer")
    unreadable = 0
    for der in {sha256(der): der for der in ders}.values():
        page = client.get(f"/certificates/{sha256(der)}")
        assert page.status_code == 200, sha256(der)
        cert = read_certificate(der)
        unreadable += bool(cert.unreadable)
        assert ("Could not be read" in page.text) == bool(cert.unreadable)
        assert client.get(f"/certificates/{sha256(der)}.txt").status_code == 200
        assert_only_our_markup(page.text)
    assert unreadable * one_in > 20
    path, shown = "/certificates", 0
    while path:
        text = client.get(path).text
        assert_only_our_markup(text)
        shown += text.count('class="c-name"')
        more = re.search(r'href="(/certificates\?after=[^"]+)">Next', text)
        path = more[1] if more else ""
    assert shown == len({sha256(der) for der in ders})


@pytest.mark.slow
def test_naughty_strings_in_subjects_and_searches_stay_text(site: Site, shared: Path) -> None:
    strings = [text for text in json.loads((shared / "vectors/text/blns.json").read_text()) if text.strip()]
    digest = _serve(site, make_chain(["shop.example"]))
    client = site.client("owner")
    for start in range(0, len(strings), 40):
        words = " ".join(strings[start : start + 40]).replace("\x00", "")
        with site.sessions.writing() as session:
            session.execute(sa.update(Certificate).where(Certificate.sha256 == digest).values(subject=f"CN={words}", issuer=words))
        page = client.get("/certificates")
        assert page.status_code == 200
        assert_only_our_markup(page.text)
    for words in strings[::4]:
        page = client.get("/certificates", query_string={"q": words})
        assert page.status_code == 200, words
    assert_only_our_markup(page.text)


@pytest.mark.slow
def test_the_list_is_searched_and_paged(site: Site) -> None:
    ders = [make_chain([f"n{number}.example"]).leaf.der for number in range(60)]
    _serve_raw(site, ders)
    client = site.client("owner")
    first = client.get("/certificates").text
    more = re.search(r'href="(/certificates\?after=[^"]+)">Next', first)
    assert more is not None
    second = client.get(more[1]).text
    links = [set(re.findall(r'/certificates/([0-9a-f]{64})"', page)) for page in (first, second)]
    assert (len(links[0]), len(links[1])) == (50, 10)
    assert not links[0] & links[1]
    assert len(set(re.findall(r'/certificates/([0-9a-f]{64})"', client.get("/certificates?q=n17.example").text))) == 1
    assert "No certificate matches" in client.get("/certificates?q=nosuch").text
    assert client.get("/certificates?after=nonsense").status_code == 200
