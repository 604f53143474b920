from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.net.names import Listed, NameRefused, read_name

VECTORS = Path(__file__).parents[4] / "shared" / "vectors"


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("Example.ORG", "example.org", 443),
        ("example.org.", "example.org", 443),
        ("  example.org:8443\t", "example.org", 8443),
        ("example.org.:0443", "example.org", 443),
        ("example.org:", "example.org", 443),
        ("https://Example.org/a/path?x=1#y", "example.org", 443),
        ("http://example.org", "example.org", 443),
        ("HTTPS://example.org:8443?x", "example.org", 8443),
        ("imaps://mail.example.org", "mail.example.org", 993),
        ("example.org/path", "example.org", 443),
        ("bücher.example", "xn--bcher-kva.example", 443),
        ("BÜCHER。example", "xn--bcher-kva.example", 443),
        ("straße.example", "xn--strae-oqa.example", 443),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 443),
        ("xn--i-7iq.ws", "xn--i-7iq.ws", 443),  # an emoji: IDNA 2008 would not have it, the DNS does
        ("r3---sn-abc.example", "r3---sn-abc.example", 443),
        ("क्\u200dष.example", "xn--11b2ezcw70k.example", 443),
        ("localhost", "localhost", 443),
        ("intranet:8443", "intranet", 8443),
        (f"{'a' * 63}.example", f"{'a' * 63}.example", 443),
        (".".join(["a" * 49] * 5) + ".abc", ".".join(["a" * 49] * 5) + ".abc", 443),  # 253 characters
    ],
)
def test_what_people_write(text: str, name: str, port: int) -> None:
    assert read_name(text) == Listed(name, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no name"),
        ("https://", "no name"),
        (".", "no name"),
        ("a b.example", "a space"),
        ("a\u00a0b.example", "U+00A0"),
        ("a\0b.example", "U+0000"),
        ("a\u202eb.example", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("a\u200bb.example", "U+200B (ZERO WIDTH SPACE)"),
        ("a\x1b[31m.example", "U+001B"),
        ("a\u200db.example", "IDNA"),
        ("<script>.example", "U+003C (LESS-THAN SIGN)"),
        ("&amp.example", "U+0026"),
        ("a" * 300, "300 characters"),
        (f"{'a' * 64}.example", "64 characters"),
        (".".join(["a" * 49] * 5) + ".abcd", "254 characters"),
        ("ü" * 60 + ".example", "between dots there are at most 63"),
        ("x" * 5_000, "5,000 characters"),
        ("127.0.0.1", "IP address"),
        ("127.0.0.1:443", "IP address"),
        ("127.1", "IP address"),
        ("2130706433", "IP address"),
        ("0x7f.1", "IP address"),
        ("017700000001", "IP address"),
        ("https://[::1]:443/", "IP address"),
        ("::ffff:127.0.0.1", "IP address"),
        ("http://169。254。169。254/", "IP address"),
        ("http://⑯⑨。②⑤④。⑯⑨｡②⑤④/", "IP address"),
        ("http://⓪ⓧⓐ⑨ⓕⓔⓐ⑨ⓕⓔ:80/", "IP address"),
        ("example.org:0", "out of range"),
        ("example.org:65536", "out of range"),
        ("example.org:999999999999999999999", "out of range"),
        ("example.org:https", "not a port"),
        ("example.org:\uff14\uff14\uff13", "not a port"),
        ("example.org:-1", "not a port"),
        ("a:b:c", "more than one colon"),
        ("www,example.org", "comma"),
        ("a.example;b.example", "semicolon"),
        ("someone@example.org", "@"),
        ("http://user:secret@example.org/", "@"),
        ("http://127.1.1.1:80\\@127.2.2.2:80/", "@"),
        ("a\\b.example", "backslash"),
        ("www.example.org\tWeb server", "There is a blank in this line. Write one name per line."),
        ("*.example.org", "wildcard"),
        ("_dmarc.example.org", "underscore"),
        ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        ("a..example", "two dots"),
        (".example.org", "begins with a dot"),
        ("❤.example", "U+2764"),
        ("xn--99999999999.example", "xn--"),
        ("xn--.example", "hyphen"),
        ("gopher://localhost:25/", "kind"),
        ("file:///etc/passwd", "kind"),
    ],
)
def test_what_is_refused_and_how_it_is_said(text: str, says: str) -> None:
    with pytest.raises(NameRefused) as refused:
        read_name(text)
    sentence = str(refused.value)
    assert says in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 200
    assert sentence.isprintable()


@pytest.mark.slow
@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_dialable_name_or_a_sentence(text: str) -> None:
    try:
        listed = read_name(text)
    except NameRefused as refused:
        sentence = str(refused)
    else:
        sentence = ""
        assert listed.name == listed.name.lower()
        assert all(0 < len(label) < 64 for label in listed.name.split("."))
        assert len(listed.name) < 254
        assert set(listed.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert read_name(f"{listed.name}:{listed.port}") == listed
    assert sentence.isprintable()


def test_naughty_strings_and_hostile_urls_never_raise_anything_else() -> None:
    strings = VECTORS / "text" / "blns.json"
    urls = VECTORS / "ssrf" / "urls.txt"
    if not strings.exists() or not urls.exists():
        pytest.skip("the string vectors are not here: ../shared/vectors")
    for text in [*json.loads(strings.read_text()), *urls.read_text().splitlines()]:
        try:
            listed = read_name(text)
        except NameRefused:
            continue
        assert not listed.name.split(".")[-1].isdecimal(), text
