"""What the watchdog tells the public by itself: what lasts, after a while, once, and until it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.policy import Actor, NotAllowed
from core.actions.public_incidents import publish_public_incident, resolve_public_incident, update_public_incident, withhold_public_incident
from core.actions.watchdog import watch_public_incidents
from core.status.faults import Fault
from core.status.incidents import told_incidents
from core.store.db import Sessions
from core.store.letters import Letter
from core.store.public_incidents import IncidentRow, incidents_over, public_incidents
from core.store.public_incidents import incidents_in_hand as in_hand
from tests.actions.test_public_incidents import subscriber
from tests.make import NOW, TERMINAL

WATCHDOG = Actor(worker=True)
MINUTE = timedelta(minutes=1)
DELAY = 10 * MINUTE
LATE = Fault("down:portal", NOW, "Web and API: late", "It is late.", ("portal",), "minor")


class Watch:
    """Looks once a minute, at a time that tests set by minutes."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def look(self, minute: int, *seen: Fault) -> None:
        with self.sessions.writing() as session:
            watch_public_incidents(session, WATCHDOG, seen, delay=DELAY, now=at(minute))

    def hand(self) -> list[IncidentRow]:
        with self.sessions.reading() as session:
            return list(in_hand(session))

    def public(self) -> list[IncidentRow]:
        with self.sessions.reading() as session:
            return list(public_incidents(session, NOW))

    def events(self) -> list[str]:
        with self.sessions.reading() as session:
            return [each.split(".")[1] for each in session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id))]


def at(minute: int) -> datetime:
    return NOW + minute * MINUTE


@pytest.fixture
def watch(sessions: Sessions) -> Watch:
    return Watch(sessions)


@pytest.mark.slow
def test_what_lasts_is_opened_once_published_after_the_delay_and_ended_when_it_is_quiet(watch: Watch) -> None:
    with watch.sessions.writing() as session:
        subscriber(session, "a@example.net")
    watch.look(2, LATE)
    assert watch.hand() == [], "what may be over in a moment is no incident"
    for minute in range(3, 13):
        watch.look(minute, LATE)
    (waiting,) = watch.hand()
    assert (waiting.standing, waiting.publish_at, waiting.automatic) == ("waiting", at(13), "down:portal")
    assert watch.public() == []
    watch.look(13, LATE)
    (public,) = watch.public()
    assert public.published_at == at(13)
    watch.look(14)
    watch.look(15, LATE)
    watch.look(16)
    watch.look(17)
    assert watch.hand()[0].state == "investigating", "quiet for one minute, then back, then quiet for one minute"
    watch.look(18)
    assert watch.hand() == []
    (over,) = watch.public()
    assert (over.state, over.ended_at, len(over.updates)) == ("resolved", at(18), 2)
    assert watch.events() == ["opened", "published", "resolved"]
    with watch.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 2, "as it became public, and as it was over"
        assert [each.automatic for each in told_incidents(session, NOW)] == [True]


def test_what_comes_back_soon_is_the_same_incident_and_later_is_another(watch: Watch) -> None:
    watch.look(3, LATE)
    watch.look(4)
    watch.look(6)
    watch.look(9, replace(LATE, since=at(8)))
    assert watch.hand()[0].ended_at == at(6), "it may be over in a moment, and waits to become public still"
    watch.look(11, replace(LATE, since=at(8)))
    (back,) = watch.hand()
    assert (back.ended_at, back.state) == (None, "investigating")
    assert back.updates[0].words == "It is back. It is late."
    for minute in (12, 14):
        watch.look(minute)
    watch.look(30, replace(LATE, since=at(25)))
    (other,) = watch.hand()
    assert other.ref != back.ref
    assert watch.events() == ["opened", "resolved", "updated", "resolved", "published", "opened"]


def test_what_gets_worse_is_said_once_and_what_gets_better_is_not(watch: Watch) -> None:
    watch.look(3, LATE)
    down = replace(LATE, impact="critical", words="It does not work.")
    for minute, fault in ((4, down), (5, down), (6, LATE), (7, down)):
        watch.look(minute, fault)
    (one,) = watch.hand()
    assert [each.words for each in one.updates] == ["It got worse. It does not work.", "It is late."]
    assert one.impact == "critical"


def test_what_nobody_measured_opens_nothing_and_ends_nothing(watch: Watch) -> None:
    unknown = Fault("down:portal", NOW, "", "", (), "none", holds=True)
    watch.look(9, unknown)
    assert watch.hand() == []
    watch.look(10, LATE)
    for minute in (11, 12, 13, 14):
        watch.look(minute, unknown)
    (one,) = watch.hand()
    assert (one.state, len(one.updates)) == ("investigating", 1)
    watch.look(15)
    watch.look(17)
    watch.look(18, unknown)
    assert watch.events() == ["opened", "resolved"]


def test_what_a_person_said_to_be_over_is_told_again_where_it_goes_on_for_long(watch: Watch) -> None:
    watch.look(3, LATE)
    with watch.sessions.writing() as session:
        resolve_public_incident(session, TERMINAL, ref=watch.hand()[0].ref, words="We mended it.", now=at(4))
    for minute in (4, 5, 9):
        watch.look(minute, LATE)
    assert watch.events() == ["opened", "resolved"], "a person's word stands for a while: measuring may be slower than they are"
    watch.look(14, LATE)
    (one,) = watch.hand()
    assert (one.ended_at, one.updates[0].words) == (None, "Our own measuring finds it still. It is late.")


def test_what_a_person_kept_back_never_becomes_public_by_itself_and_what_they_said_stays(watch: Watch) -> None:
    watch.look(3, LATE, replace(LATE, key="log:stopped"))
    refs = {each.automatic: each.ref for each in watch.hand()}
    with watch.sessions.writing() as session:
        withhold_public_incident(session, TERMINAL, ref=refs["down:portal"], now=at(4))
        publish_public_incident(session, TERMINAL, ref=refs["log:stopped"], now=at(4))
        update_public_incident(session, TERMINAL, ref=refs["log:stopped"], state="identified", words="Ours.", now=at(4))
    for minute in (13, 14, 20, 23):
        watch.look(minute)
    assert [each.automatic for each in watch.public()] == ["log:stopped"]
    assert [each.words for each in watch.public()[0].updates][1:] == ["Ours.", "It is late."]
    with watch.sessions.reading() as session:
        assert {each.automatic: each.standing for each in incidents_over(session, 9)}["down:portal"] == "withheld"


def test_what_is_over_before_its_time_becomes_public_with_its_end(watch: Watch) -> None:
    watch.look(3, LATE)
    for minute in (4, 6, 12):
        watch.look(minute)
    assert watch.public() == []
    assert len(watch.hand()) == 1, "an operator may still keep it back"
    watch.look(13)
    assert [each.state for each in watch.public()] == ["resolved"]
    assert watch.hand() == []


def test_only_a_worker_watches(sessions: Sessions) -> None:
    with sessions.writing() as session, pytest.raises(NotAllowed):
        watch_public_incidents(session, Actor(user_id=1, installation_role="operator"), [], delay=DELAY, now=NOW)
