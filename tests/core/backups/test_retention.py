"""Retention: what is kept, against a year of backups counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.backups.retention import Candidate, Keep, plan

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def hourly(count: int, proven: bool = True) -> list[Candidate]:
    return [Candidate(f"b{number}", NOW - timedelta(hours=number), proven) for number in range(count)]


def test_a_year_of_hourly_backups() -> None:
    made = hourly(24 * 365)
    found = plan(made, Keep(), held=False, now=NOW)
    kinds = [word for words in found.kept_as.values() for word in words if not word.startswith("newest")]
    assert {word: kinds.count(word) for word in set(kinds)} == {"hourly": 24, "daily": 14, "weekly": 8, "monthly": 12}
    assert len(found.remove) + len(found.kept_as) == len(made)
    assert found.blocked == ""
    assert found.remove[0] == made[-1].ref or made[-1].ref in found.kept_as


def test_the_newest_and_the_newest_proven_always_stay() -> None:
    made = [Candidate("newest", NOW, False), Candidate("proven", NOW - timedelta(hours=20), True), *hourly(0)]
    found = plan([*made, Candidate("other", NOW - timedelta(hours=21), True)], Keep(0, 1, 0, 0), held=False, now=NOW)
    assert set(found.kept_as) >= {"newest", "proven"}
    assert found.remove == ("other",)


def test_of_one_day_a_proven_one_is_kept_rather_than_one_that_is_not() -> None:
    day = NOW - timedelta(days=3)
    made = [*hourly(1), Candidate("late", day + timedelta(hours=2), False), Candidate("early", day, True)]
    found = plan(made, Keep(0, 14, 0, 0), held=False, now=NOW)
    assert found.remove == ("late",)


@pytest.mark.parametrize(
    ("made", "held", "words"),
    [
        (hourly(100), True, "hold"),
        (hourly(100, proven=False), False, "No backup is proven"),
        ([Candidate(each.ref, each.at - timedelta(days=2), True) for each in hourly(100)], False, "older than a day"),
        ([Candidate(each.ref, each.at + timedelta(days=1), True) for each in hourly(100)], False, "a clock is wrong"),
    ],
)
def test_nothing_is_removed_where_that_would_be_rash(made: list[Candidate], held: bool, words: str) -> None:
    found = plan(made, Keep(0, 1, 0, 0), held=held, now=NOW)
    assert found.remove == ()
    assert words in found.blocked


def test_how_many_are_kept_is_read_strictly() -> None:
    assert Keep.read("daily=3, hourly=0") == Keep(hourly=0, daily=3)
    for wrong in ("daily", "yearly=1", "daily=-1", "daily=0", "daily=x"):
        with pytest.raises(ValueError, match="daily="):
            Keep.read(wrong)
