"""What strangers see of an act, byte for byte, and what they cannot find out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from audit.entry import actor_kind, canonical, commitment, magnitude, make_entry, opens, read_entry
from audit.kinds import KINDS
from audit.log import _KIND
from tests.conftest import ROOT

AT = datetime(2026, 11, 28, 21, 5, 44, 123_456, UTC)


def salts() -> Callable[[], bytes]:
    numbers = iter(range(256))
    return lambda: bytes([next(numbers)]) * 32


def test_the_bytes_of_an_entry_are_these() -> None:
    entry = make_entry(
        "domains.added.v1",
        at=AT,
        logged=AT,
        actor="user:abcdefghjkmnpqrs",
        account="zyxwvutsrqpnmkjh",
        public={"added": 12, "restored": 0},
        private={"names": "münchen.example.org"},
        salt=salts(),
    )
    c = {
        "account": hashlib.sha256(bytes([0]) * 32 + b'"zyxwvutsrqpnmkjh"').hexdigest(),
        "actor": hashlib.sha256(bytes([1]) * 32 + b'"user:abcdefghjkmnpqrs"').hexdigest(),
        "added": hashlib.sha256(bytes([2]) * 32 + b"12").hexdigest(),
        "at": hashlib.sha256(bytes([3]) * 32 + b'"2026-11-28T21:05:44.123+00:00"').hexdigest(),
        "names": hashlib.sha256(bytes([4]) * 32 + '"münchen.example.org"'.encode()).hexdigest(),
        "restored": hashlib.sha256(bytes([5]) * 32 + b"0").hexdigest(),
    }
    told = ",".join(f'"{name}":"{value}"' for name, value in c.items())
    assert entry.body.decode() == (
        f'{{"at":"2026-11-28T21:05Z","by":"person","c":{{{told}}},"kind":"domains.added.v1","logged":"2026-11-28T21:05Z",'
        '"said":{"added":"10 to 99","restored":"0"},"v":1}'
    )
    assert opens(entry.body, entry.sealed) == []
    assert read_entry(entry.body)["c"] == c


def test_every_kind_keeps_what_it_does_not_show_to_itself() -> None:
    canary = "mira@secret.example.org"
    for name, kind in KINDS.items():
        assert _KIND.fullmatch(name), name
        assert kind.says.endswith("."), name
        assert not set(kind.shown) & set(kind.counted), name
        public: dict[str, str | int | bool] = {"canary": canary, **dict.fromkeys(kind.counted, 7)}
        entry = make_entry(name, at=AT, logged=AT, actor=f"user:{'a' * 16}", account="b" * 16, public=public, private={"mail": canary})
        told = read_entry(entry.body)
        assert canary.encode() not in entry.body
        assert b"a" * 16 not in entry.body
        assert b'"' + b"b" * 16 not in entry.body
        assert set(told["said"]) == set(kind.counted)
        assert set(told["said"].values()) <= {"1 to 9"}
        assert {"account", "actor", "at", "canary", "mail", *kind.counted} == set(told["c"])


def test_the_golden_bytes_of_every_kind_have_not_changed() -> None:
    """A kind's form is a promise. `tests/audit/golden.txt` has the hash of one entry of each; a new kind adds a line, none ever changes."""
    golden = dict(line.split() for line in (ROOT / "tests" / "audit" / "golden.txt").read_text().splitlines())
    assert {name: _golden(name) for name in sorted(KINDS)} == golden


def _golden(name: str) -> str:
    kind = KINDS[name]
    public: dict[str, str | int | bool] = dict.fromkeys(kind.shown, "x") | dict.fromkeys(kind.counted, 7)
    made = make_entry(
        name,
        at=AT,
        logged=AT,
        actor="worker",
        account="",
        public=public,
        private={"p": "q"},
        salt=salts(),
        back_s=1,
    )
    return hashlib.sha256(made.body).hexdigest()


def test_a_dictionary_of_names_finds_nothing() -> None:
    secret = "intranet.example.org"
    entry = make_entry("domains.added.v1", at=AT, logged=AT, actor="worker", account="", public={}, private={"names": secret})
    words = [secret, f'"{secret}"', "example.org", "", "a" * 16, "worker", '"worker"', '""']
    tried = {hashlib.sha256(salt + canonical(word)).hexdigest() for word in words for salt in (b"", bytes(32), AT.isoformat().encode())}
    tried |= {hashlib.sha256(word.encode()).hexdigest() for word in words} | {commitment(bytes(32), word) for word in words}
    assert not tried & set(read_entry(entry.body)["c"].values())
    again = make_entry("domains.added.v1", at=AT, logged=AT, actor="worker", account="", public={}, private={"names": secret})
    assert not set(read_entry(again.body)["c"].values()) & set(read_entry(entry.body)["c"].values()), "a salt was used twice"
    assert all(len(bytes.fromhex(salt)) == 32 for salt, _ in entry.sealed.values())
    assert opens(entry.body, {"names": [entry.sealed["names"][0], "other.example.org"]}) == ["names"]
    assert opens(entry.body, {"other": entry.sealed["names"]}) == ["other"]


def test_counts_are_told_by_magnitude() -> None:
    told = {each: magnitude(each) for each in (-1, 0, 1, 9, 10, 99, 100, 12_345)}
    assert list(told.values()) == ["0", "0", "1 to 9", "1 to 9", "10 to 99", "10 to 99", "100 to 999", "10,000 to 99,999"]


def test_an_actor_is_told_by_kind() -> None:
    found = [actor_kind(each) for each in ("user:abc23", "terminal", "worker", "nobody", "log", "Mira Nowak", "")]
    assert found == ["person", "terminal", "worker", "nobody", "log", "nobody", "nobody"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"v":1}', b"\xff", b'{"a": 1}', b"[" * 100_000,
     b'{"at":"x","by":"x","c":{},"kind":"x","logged":"x","said":{},"v":2}',
     b'{"at":"x","by":"x","c":{},"kind":"x","logged":"x","v":1,"said":{}}'],
)  # fmt: skip
def test_bytes_that_are_no_entry_are_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it is|a field)"):
        read_entry(body)


def test_every_kind_has_a_heading() -> None:
    headings = re.findall(r"^## `([^`]+)`", (ROOT / "docs" / "events.md").read_text(), re.MULTILINE)
    assert set(headings) == set(KINDS)
    assert json.loads(canonical({"b": 1, "a": True})) == {"a": True, "b": 1}
