"""What the feed says survives its journey to the letter, and nothing else is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.status.codec import MOST_BYTES, MOST_CHARS, decode, encode
from core.status.told import Component, Incident, Measure, SeenAccess, Told
from tests.status.make import calm_told, empty_told, rich_told, unreachable_told

SIMPLE: dict[Any, Any] = {
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    int: st.integers(-(2**53), 2**53),
    bool: st.booleans(),
    date: st.dates(),
    datetime: st.datetimes(timezones=st.just(UTC)),
}
WORD = st.text("abcXYZ019-_", min_size=1, max_size=64)
NAMED: dict[tuple[type, str], Any] = {
    (Component, "key"): WORD,
    (Incident, "ref"): WORD,
    (SeenAccess, "ref"): WORD,
    (Measure, "link"): st.sampled_from(["", "log/", "access/", "log/entries/1/5", "incidents/a-b/", "index.html#h-ba"]),
    (Told, "address"): st.just("https://keychest.example"),
    (Told, "feed"): st.sampled_from(["", "https://status.keychest.example/keychest"]),
    (Told, "made_at"): st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
}
UNIQUE = {Component: lambda each: each.key, Incident: lambda each: each.ref}


def of(kind: Any) -> Any:
    """Any value of this type."""
    if is_dataclass(kind) and isinstance(kind, type):
        return st.builds(
            kind, **{name: NAMED[kind, name] if (kind, name) in NAMED else of(hint) for name, hint in get_type_hints(kind).items()}
        )
    arguments = get_args(kind)
    if get_origin(kind) is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=3, unique_by=UNIQUE.get(arguments[0])).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(of, arguments))
    if get_origin(kind) is Literal:
        return st.sampled_from(arguments)
    return st.none() | of(arguments[0]) if arguments else SIMPLE[kind]


@pytest.mark.slow
@given(of(Told))
@settings(max_examples=60, deadline=None)
def test_it_comes_back_as_it_was(told: Told) -> None:
    raw = encode(told)
    assert decode(raw) == told
    assert encode(decode(raw)) == raw


@pytest.mark.parametrize("told", [rich_told(), empty_told(), calm_told(), unreachable_told()], ids=["rich", "empty", "calm", "away"])
def test_what_is_made_in_tests_comes_back(told: Told) -> None:
    assert decode(encode(told)) == told


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    read = json.loads(encode(rich_told()))
    change(read)
    return json.dumps(read).encode()


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown field": (lambda told: told.update(more=1), "has a field that nobody knows: 'more'"),
    "an unknown field deep down": (lambda told: told["log"].update(key="k"), "it.log has a field that nobody knows"),
    "a missing field": (lambda told: told.pop("how"), "it has no field 'how'"),
    "a missing field deep down": (lambda told: told["components"][0]["days"][3].pop("late_s"), r"components\[0\].days\[3\] has no field"),
    "a number as text": (lambda told: told["scans"].update(made="1"), "it.scans.made is no whole number"),
    "yes as a number": (lambda told: told["scans"].update(made=True), "it.scans.made is no whole number"),
    "one as yes": (lambda told: told["hosts"][0].update(silent=1), "silent is no yes or no"),
    "a fraction": (lambda told: told["scans"].update(made=1.5), "where a whole number belongs"),
    "not a number": (lambda told: told["scans"].update(made=float("nan")), "where a whole number belongs"),
    "a number that is too large": (lambda told: told["scans"].update(made=2**53 + 1), "too large"),
    "nothing where something belongs": (lambda told: told.update(version=None), "it.version is no text"),
    "an object as a list": (lambda told: told.update(hosts={}), "it.hosts is no list"),
    "a list as an object": (lambda told: told.update(log=[]), "it.log is no object"),
    "a state that is none": (lambda told: told["components"][0].update(state="fine"), "is none of ok, late, down, unmeasured"),
    "a state of another type": (lambda told: told["components"][0].update(state=[1]), "is none of ok, late, down, unmeasured"),
    "three numbers for an entry": (lambda told: told["accesses"][0].update(entries=[[1, 2, 3]]), "has not 2 items"),
    "a local time": (lambda told: told.update(made_at="2026-11-23T09:14:00"), "is not written as a time in UTC"),
    "another zone": (lambda told: told.update(made_at="2026-11-23T09:14:00+01:00"), "is not written as a time in UTC"),
    "another spelling": (lambda told: told.update(made_at="20261123T091400Z"), "is not written as a time in UTC"),
    "no time": (lambda told: told.update(made_at="soon"), "it.made_at is no time"),
    "a year of no clock": (lambda told: told.update(made_at="0001-01-01T00:00:00Z"), "in a year in which nobody made it"),
    "a long text": (lambda told: told.update(how="x" * (MOST_CHARS + 1)), "longer than 100,000 characters"),
    "half a character": (lambda told: told.update(how="\ud800"), "half a character"),
    "a long list": (lambda told: told.update(accesses=[0] * 20_001), "more than 20,000 items"),
    "a way out": (lambda told: told["incidents"][0].update(ref="../../x"), "is no reference"),
    "no reference": (lambda told: told["accesses"][0].update(ref=""), "is no reference"),
    "a component that is a path": (lambda told: told["components"][0].update(key="a/b"), "is no reference"),
    "one incident twice": (lambda told: told["incidents"].append(told["incidents"][0]), "names one incident twice"),
    "a script as a link": (lambda told: told["measures"][0].update(link="javascript:alert(1)"), "is no link within the feed"),
    "a link to another host": (lambda told: told["measures"][0].update(link="//evil.example/"), "is no link within the feed"),
    "a link upwards": (lambda told: told["measures"][0].update(link="../x"), "is no link within the feed"),
    "a script as an address": (lambda told: told.update(address="javascript:alert(1)//x"), "is no address of a site"),
    "an address with a slash": (lambda told: told.update(feed="https://a.example/"), "is no address of a site"),
    "a command in an address": (lambda told: told.update(address="https://a.example/$(id)"), "is no address of a site"),
    "a second command in an address": (lambda told: told.update(feed="https://a.example/x;id"), "is no address of a site"),
    "a background in an address": (lambda told: told.update(feed="https://a.example&id"), "is no address of a site"),
    "a quote in an address": (lambda told: told.update(feed='https://a.example/"x'), "is no address of a site"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_whole_is_refused_with_a_sentence(name: str) -> None:
    change, why = WRONG[name]
    with pytest.raises(ValueError, match=why) as refused:
        decode(changed(change))
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 300


RAW = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no UTF-8": b'"\xff"',
    "nested deeply": b"[" * 200_000,
    "a huge number": b'{"made_at":' + b"9" * 100_000 + b"}",
    "one field twice": encode(empty_told()).replace(b'"how":""', b'"how":"","how":""'),
    "too long": b" " * (MOST_BYTES + 1),
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_something_else_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^(It|it) .*\.$"):
        decode(RAW[name])


def test_microseconds_and_every_character_are_kept() -> None:
    told = replace(rich_told(), how="\u202e\x00\n\U0001f511\ufffe</script>", known_at=rich_told().made_at.replace(microsecond=1))
    assert decode(encode(told)) == told
