"""Names and lists by chance: each line is a target that means the same when it is written out, or is refused in a plain sentence."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from functools import cache
from typing import Final

import pytest

from core.net.lists import Line, ListRefused, read_list, read_target
from core.net.names import Listed, NameRefused, read_name
from core.net.text import invisible, mixed_script, u_label, visible
from core.net.upgrades import PROTOCOLS
from tests.fuzzing import SECONDS, fuzz
from tests.vectors import VECTORS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 120)]
A_LABELS: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
OWN: Final = (
    "www.example.org", "mail.example.org:25 smtp", "www.example.org 192.0.2.1", "https://Example.org/a?x=1#y", "bücher.example",
    "xn--bcher-kva.example", "BÜCHER。example", "क्\u200dष.example", "straße.example:8443", "imaps://mail.example.org", "[2001:db8::1]:443",
    "a.example @2001:db8::1", "mail.example.org:25 tls", "0x7f.1", "017700000001", "localhost", "例え.テスト", "пример.рф", "\U0001f600.ws",
    ".".join(["a" * 49] * 5) + ".abc",
)  # fmt: skip
PARTS: Final = (
    *PROTOCOLS, "tls", "xn--", "xn--a", ":", ":0", ":65535", ":65536", ":\u0663", "://", "https://", "@", "[", "]", "%", "#", ".", "..",
    "\u3002", "*.", "-", "_", " ", "\t", "\r", "\n", "\0", "\u202e", "\u200b", "\u200d", "\u0301", "\ufe0f", "\ud800", "\U0001f1e9",
    "\u0131", "\u017f", "\u00df", "\u03c2", "\u212a", "\uff11", "\u0430", "a" * 64, "\u00fc" * 60,
    "127.0.0.1", "::1", "fe80::1%eth0", "\u1e9e", "\u2488", "\uff0e", "xn--" + "9" * 50, "." + "b" * 50,
)  # fmt: skip


@cache
def seeds() -> tuple[str, ...]:
    """Our own, and what others find naughty."""
    found = list(OWN)
    if VECTORS.is_dir():
        found += json.loads((VECTORS / "text" / "blns.json").read_text())
        found += (VECTORS / "ssrf" / "urls.txt").read_text(errors="surrogateescape").splitlines()
    return tuple(found)


def changed(chance: random.Random) -> str:
    text = chance.choice(OWN) if chance.random() < 0.6 else chance.choice(seeds())
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.choice((0, 0, 1, 1, 5)))
        new = chance.choice((chance.choice(PARTS), chr(chance.randrange(0x110000)), text[start:end] * 2, chance.choice(seeds()), ""))
        text = text[:start] + new + text[end:]
    return text


def assert_plain(refusal: str) -> None:
    """One sentence or two, with nothing in it that could not be shown."""
    assert refusal.endswith((".", ")"))
    assert len(refusal) < 400
    assert not any(map(invisible, refusal))


def assert_means_itself(listed: Listed) -> None:
    assert A_LABELS.fullmatch(listed.name), listed
    assert 1 <= listed.port <= 65_535
    assert listed.starttls in ("", *PROTOCOLS)
    assert read_name(f"{listed.name}:{listed.port}") == Listed(listed.name, listed.port)
    words = [f"{listed.name}:{listed.port}", listed.starttls or "tls", listed.address]
    assert read_target(" ".join(filter(None, words))) == listed
    shown = u_label(listed.name)
    assert not any(hidden for hidden, _ in visible(shown))
    assert mixed_script(listed.name) in (True, False)
    assert unicodedata.is_normalized("NFC", shown)


def assert_told(line: Line, most: int) -> None:
    assert 1 <= line.number <= most
    assert (line.listed is None) == (line.refusal is not None)
    if line.listed is not None:
        assert_means_itself(line.listed)
    if line.refusal is not None:
        assert_plain(line.refusal)


def test_whatever_is_pasted_is_read_or_refused() -> None:
    read = refused = 0

    def once(chance: random.Random) -> None:
        nonlocal read, refused
        text = changed(chance)
        try:
            assert_means_itself(read_target(text))
            read += 1
        except NameRefused as why:
            assert_plain(str(why))
            refused += 1
        pasted = chance.choice(("\n", "\r\n", "\r")).join(changed(chance) for _ in range(chance.randrange(5)))
        try:
            for line in read_list(pasted, most=8):
                assert_told(line, 8)
        except ListRefused as why:
            assert_plain(str(why))

    rounds = fuzz(0.15, once)
    assert rounds == 1 or min(read, refused) > 0
