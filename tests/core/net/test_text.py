from __future__ import annotations

import pytest

from core.net.text import mixed_script, u_label, visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("example.org", "example.org"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("xn--i-7iq.ws", "xn--i-7iq.ws"),  # not IDNA 2008: stays as it is
        ("xn--99999999999.xn--bcher-kva", "xn--99999999999.bücher"),
        ("xn--a.example", "xn--a.example"),
        ("", ""),
        ("*.xn--bcher-kva.example", "*.bücher.example"),
    ],
)
def test_names_are_shown_as_people_read_them(name: str, shown: str) -> None:
    assert u_label(name) == shown


@pytest.mark.parametrize(
    ("name", "mixed"),
    [
        ("example.org", False),
        ("xn--pple-43d.com", True),  # apple, the first letter Cyrillic
        ("xn--80ak6aa92e.com", False),  # all Cyrillic: looks like apple, but mixes nothing
        ("пример.example", False),  # scripts may differ between labels
        ("東京タワー.example", False),
        ("東京towerですか.example", False),
        ("서울seoul.example", False),
        ("\u03b1lpha.example", True),
        ("bücher-2.example", False),
    ],
)
def test_scripts_that_are_not_written_together(name: str, mixed: bool) -> None:
    assert mixed_script(name) == mixed


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert visible("a b") == [(False, "a b")]
    assert visible("") == []
    assert visible("a\u202eb\0\x1b[0m") == [
        (False, "a"),
        (True, "U+202E"),
        (False, "b"),
        (True, "U+0000"),
        (True, "U+001B"),
        (False, "[0m"),
    ]
    for hidden in "\n\r\t\x7f\x85\u00a0\u00ad\u200b\u200d\u2028\u2066\ufeff\ufe0f\u3164\ue000\udc80\U000e0041\u2800":
        assert visible(hidden) == [(True, f"U+{ord(hidden):04X}")]
    for seen in "aü東é<>&\u0301":
        assert visible(seen) == [(False, seen)]
