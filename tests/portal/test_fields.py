from __future__ import annotations

import pytest
from cryptography import x509

from core.scanner.certificate import read_certificate
from demo.pki import make_chain, make_leaf
from portal import cursors, fields
from tests.make import NOW


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("CN=YE2,O=Let's Encrypt,C=US", "Let's Encrypt YE2"),
        ("CN=DigiCert TLS CA1,O=DigiCert Inc", "DigiCert TLS CA1"),
        ('CN=R\\, Co \\"x\\"', 'R, Co "x"'),
        ("O=Only", "Only"),
        ("2.5.4.5=abc", "2.5.4.5=abc"),
        ("", ""),
        (None, ""),
        ("CN=a\\", "a"),
        ("CN=" + "\\," * 40_000, "," * 40_000),
    ],
)
def test_short_names_of_issuers(name: str | None, short: str) -> None:
    assert fields.short_name(name) == short


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "ldap://ca.example/", "http:///x", "//x.example", "http://x.example/ onload=1",
     "https://x.example/\u202e", "http://[x", "HTTP", ""],
)  # fmt: skip
def test_what_is_not_plainly_http_is_not_clickable(url: str) -> None:
    assert not fields.linkable(url)


def test_http_and_https_are_clickable() -> None:
    assert fields.linkable("http://crl.example/1.crl")
    assert fields.linkable("https://ca.example/issuer.der")


def test_every_certificate_has_a_title() -> None:
    assert fields.title_of(read_certificate(make_leaf(["a.example"]).der)) == "a.example"
    assert fields.title_of(read_certificate(make_leaf(["a.example"], cn=None).der)) == "a.example"
    assert fields.title_of(read_certificate(make_leaf(["192.0.2.1"], cn=None).der)) == "IP:192.0.2.1"
    assert fields.title_of(read_certificate(make_leaf([], cn=None, san=None).der)) == "No name"
    assert fields.title_of(read_certificate(b"nothing")) == "Unreadable certificate"


def test_the_text_file_holds_every_name_and_the_certificate_itself() -> None:
    chain = make_chain([f"n{number}.example" for number in range(300)], cn="a\u202eb", organisation="Org")
    text = fields.as_text(read_certificate(chain.leaf.der))
    assert "a[U+202E]b" in text
    assert "\u202e" not in text
    assert all(f"  n{number}.example\n" in text for number in range(300))
    assert x509.load_pem_x509_certificate(text[text.index("-----BEGIN") :].encode()) == chain.leaf.certificate
    for label in ("Subject", "Issuer", "Valid from", "Ends", "Key", "Serial number", "SHA-256", "Use", "CA"):
        assert f"\n{label}" in text


def test_a_serial_that_is_negative_or_odd_keeps_its_digits() -> None:
    assert fields.pairs("-abc", " ") == "-0A BC"
    assert fields.pairs("7", " ") == "07"


@pytest.mark.parametrize("text", ["", "~", "x~1", "1", "-1~1", "9" * 18 + "~0", "9" * 400 + "~0", "\u0661~1", "1~x"])
def test_what_is_no_cursor_is_the_first_page(text: str) -> None:
    assert cursors.read_place(text) == (None, 0)


def test_a_cursor_comes_back_as_it_went() -> None:
    assert cursors.read_cursor(cursors.cursor(NOW, "ab")) == (NOW, "ab")
    assert cursors.read_place(cursors.place_after([NOW, NOW, NOW], NOW, 4)) == (NOW, 7)
    assert cursors.read_place(cursors.place_after([NOW.replace(year=2027), NOW], NOW.replace(year=2027), 4)) == (NOW, 1)
