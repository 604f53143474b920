from __future__ import annotations

from datetime import timedelta

import pytest

from portal import charts
from tests.make import NOW

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begun", "left", "says"),
    [
        (20, 70, "ends 1 Feb 2027. Today, day 21 of 90."),
        (85, 5, "ends 28 Nov 2026. Today, day 86 of 90."),
        (93, -3, "ended 20 Nov 2026. Today, 3 days after the end."),
        (-1, 91, "Today, before it begins."),
    ],
)
def test_a_life_states_its_result_in_words(begun: int, left: int, says: str) -> None:
    drawn = charts.life(NOW - begun * DAY, NOW + left * DAY, NOW)
    assert says in drawn
    assert 'role="img"' in drawn
    assert ("f-bad" in drawn) == (left < 0)


def test_a_life_of_hours_is_counted_in_hours() -> None:
    hour = timedelta(hours=1)
    assert "Now, hour 3 of 6." in charts.life(NOW - 2 * hour, NOW + 4 * hour, NOW)


def test_a_life_that_ends_before_it_begins_is_not_drawn() -> None:
    assert charts.life(NOW, NOW - DAY, NOW) == ""
    assert charts.life(NOW, NOW, NOW) == ""
    assert charts.mini_life(NOW, NOW, NOW) == ""
    assert charts.mini_life(None, NOW, NOW) == ""


@pytest.mark.parametrize(("left", "kind"), [(60, "unk"), (29, "soon"), (-1, "bad")])
def test_a_small_life_takes_the_colour_of_its_state(left: int, kind: str) -> None:
    assert f'class="f-{kind}"' in charts.mini_life(NOW - (90 - left) * DAY, NOW + left * DAY, NOW)


def test_days_tell_missed_and_unmeasured_ones_apart_without_colour() -> None:
    made = {(NOW - back * DAY).date().isoformat(): 3 for back in range(10)}
    drawn = charts.days(made, {(NOW - 2 * DAY).date().isoformat(): 4}, NOW)
    assert "9 without a gap, 1 with missed scans, 20 without scans" in drawn
    assert "<title>21 Nov 2026: 4 missed</title>" in drawn
    assert (drawn.count("f-ok"), drawn.count("f-soon"), drawn.count("s-unk")) == (9, 1, 20)
