"""Times and dates as a person wants to see them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.actions.accounts import token_sha256
from core.actions.policy import NotAllowed, Refused
from core.actions.preferences import choose_dates
from core.render import LANGUAGES, ago, date, moment, shown_in, time_zones
from core.store.accounts import signed_in
from core.store.db import Sessions
from tests.make import NOW, TERMINAL
from tests.people import person

LATE = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)


def test_what_a_person_chose_holds_until_they_choose_anew(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor, token = person(session, "mira@example.org")
        for zone, dates in (("Europe/Prague", "cs"), ("Asia/Tokyo", "iso")):
            choose_dates(session, actor, time_zone=zone, dates=dates, now=NOW)
            found = signed_in(session, token_sha256(token), NOW)
            assert found is not None
            assert (found.time_zone, found.dates) == (zone, dates)
        for zone, dates in (("Europe/Nowhere", "cs"), ("", "cs"), ("../etc/passwd", "en"), ("UTC", "tlh")):
            with pytest.raises(Refused, match="Nothing was changed"):
                choose_dates(session, actor, time_zone=zone, dates=dates, now=NOW)
        with pytest.raises(NotAllowed):
            choose_dates(session, TERMINAL, time_zone="UTC", dates="en", now=NOW)


@pytest.mark.parametrize(
    ("zone", "dates", "shown"),
    [
        ("", "", "28 Nov 2026, 23:30"),
        ("Europe/Prague", "cs", "29. 11. 2026, 00:30"),
        ("America/New_York", "en", "28 Nov 2026, 18:30"),
        ("Asia/Kathmandu", "iso", "2026-11-29, 05:15"),
        ("no zone of ours", "no language", "28 Nov 2026, 23:30"),
    ],
)
def test_times_are_shown_in_the_zone_and_mean_the_same(zone: str, dates: str, shown: str) -> None:
    with shown_in(zone, dates):
        assert moment(LATE) == f'<time datetime="2026-11-28T23:30:00Z">{shown}</time>'
        assert shown.rpartition(",")[0] in date(LATE)
    assert moment(LATE) == '<time datetime="2026-11-28T23:30:00Z">28 Nov 2026, 23:30</time>', "as before"
    with shown_in("Europe/Prague", ""):
        assert "00:30:00 CET" in ago(LATE, LATE)


def test_each_example_is_what_is_shown() -> None:
    for code, example in LANGUAGES.items():
        with shown_in("UTC", code):
            assert f">{example.rpartition(' (')[0]}<" in date(LATE)
    assert time_zones()[0] == "UTC"
    assert "Europe/Prague" in time_zones()
