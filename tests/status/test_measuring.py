"""Bars of 90 days: seconds that were measured, by state and UTC day, kept in a file that outlives what it measures."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.status.measuring import (
    LONGEST_STEP,
    Measured,
    Probe,
    a_day_ago,
    components,
    keep_tally,
    measure,
    read_tally,
    sampled,
)
from core.status.told import COMPONENTS, ComponentState

AT = datetime(2026, 11, 23, 23, 58, tzinfo=UTC)
STATES: tuple[ComponentState, ...] = ("ok", "late", "down", "unmeasured")


def probe(state: ComponentState) -> Probe:
    return Probe(state, f"It is {state}.", "by a test")


def run(*states: ComponentState, step: timedelta = timedelta(minutes=1), at: datetime = AT) -> dict[str, Measured]:
    tally: dict[str, Measured] = {}
    for number, state in enumerate(states):
        tally = measure(tally, {"portal": probe(state)}, at + number * step)
    return tally


def test_the_time_between_two_looks_counts_as_what_the_first_saw_on_the_day_it_was() -> None:
    tally = run("ok", "down", "down", "late", "ok")
    assert tally["portal"].days == {date(2026, 11, 23): (120, 0, 60), date(2026, 11, 24): (120, 60, 60)}
    assert tally["portal"].since == AT + timedelta(minutes=4)
    (portal, *others) = components(tally, AT + timedelta(minutes=4))
    assert (portal.key, portal.state, portal.says, len(portal.days)) == ("portal", "ok", "It is ok.", 90)
    assert portal.days[-2].down_s == 60
    assert {each.state for each in others} == {"unmeasured"}
    assert [each.key for each in (portal, *others)] == list(COMPONENTS)


def test_what_nobody_measured_is_neither_well_nor_down() -> None:
    gap = LONGEST_STEP + timedelta(seconds=1)
    assert run("ok", "ok", step=gap)["portal"].days == {}
    assert run("unmeasured", "ok")["portal"].days == {}
    assert run("ok", "ok", step=timedelta(seconds=-30))["portal"].days == {}  # a clock that was set back
    (portal, *_) = components(run("ok"), AT + gap)
    assert (portal.state, portal.says) == ("unmeasured", "Nobody has measured this lately.")


def test_a_state_stands_since_it_was_first_seen() -> None:
    assert run("down", "down", "down")["portal"].since == AT
    assert run("down", "ok", "down")["portal"].since == AT + timedelta(minutes=2)


def test_days_before_the_last_90_are_dropped() -> None:
    tally = run("ok", "ok")
    later = measure(
        measure(tally, {"portal": probe("ok")}, AT + timedelta(days=89)), {"portal": probe("ok")}, AT + timedelta(days=89, minutes=1)
    )
    assert date(2026, 11, 23) in later["portal"].days
    assert date(2026, 11, 23) not in measure(later, {"portal": probe("ok")}, AT + timedelta(days=91))["portal"].days


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(1, 400)), min_size=2, max_size=40))
def test_no_second_is_counted_twice_or_made_up(looks: list[tuple[ComponentState, int]]) -> None:
    tally: dict[str, Measured] = {}
    at, expected = AT, dict.fromkeys(STATES, 0)
    for number, (state, step) in enumerate(looks):
        tally = measure(tally, {"log": probe(state)}, at)
        if number + 1 < len(looks) and step <= LONGEST_STEP.total_seconds():
            expected[state] += step
        at += timedelta(seconds=step)
    days = tally["log"].days.values()
    assert sum(each[0] for each in days) == pytest.approx(expected["ok"] + expected["late"] + expected["down"])
    assert sum(each[1] for each in days) == pytest.approx(expected["late"])
    assert sum(each[2] for each in days) == pytest.approx(expected["down"])
    assert all(seconds <= 86_400 for each in days for seconds in each)


def test_it_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    assert read_tally(path) == {}
    tally = run("ok", "down", "late")
    keep_tally(path, tally)
    assert read_tally(path) == tally
    for damaged in (b"", b"[]", b"{}", b'{"keychest-measured-1": {"portal": {"state": "fine"}}}', path.read_bytes()[:-9]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="Move it away"):
            read_tally(path)


def test_how_many_scans_were_made_a_day_ago_is_known_after_a_day() -> None:
    samples = sampled((), 100, AT)
    assert a_day_ago(samples, 100) == 100
    for hour in range(1, 49):
        samples = sampled(samples, 100 + hour, AT + timedelta(hours=hour))
        samples = sampled(samples, 0, AT + timedelta(hours=hour, minutes=5))  # not an hour since
    assert a_day_ago(samples, 148) == 124
    assert len(samples) <= 26
    assert a_day_ago(samples, 3) == 3  # a database that was restored
