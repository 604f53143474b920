"""What the public is told of incidents: by whom, in which words, and what never gets into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.tables import OutboxEvent
from core.actions import public_incidents as acts
from core.actions.policy import Actor, NotAllowed, Refused
from core.actions.subscribers import ask_status_mail
from core.status.incidents import told_incidents
from core.store.accounts import User
from core.store.base import new_ref
from core.store.db import Sessions
from core.store.factors import Factor
from core.store.letters import Letter
from core.store.public_incidents import PublicIncident, PublicUpdate, Subscriber, incidents_in_hand, one_incident
from tests.make import NOW, TERMINAL, make_actor, make_watches

LATER = NOW + timedelta(hours=1)
LATE = partial(acts.open_public_incident, title="Mail is late", words="It waits.", impact="major", components=["notifications"], now=NOW)


def operator(session: Session, *, factor: bool) -> Actor:
    actor = make_actor(session, "op@example.org")
    session.execute(sa.update(User).where(User.id == actor.user_id).values(installation_role="operator"))
    if factor:
        app = {"ref": new_ref(), "user_id": actor.user_id, "kind": "app", "sealed": "x", "created_at": NOW, "confirmed_at": NOW}
        session.add(Factor(**app, last_used_at=None, deleted_at=None))
        session.flush()
    return Actor(user_id=actor.user_id, user_ref=actor.user_ref, installation_role="operator")


def subscriber(session: Session, email: str, *, left: bool = False, confirmed: bool = True) -> None:
    at = NOW if confirmed else None
    session.add(Subscriber(ref=new_ref(), email=email, asked_at=NOW, confirmed_at=at, left_at=NOW if left else None))
    session.flush()


def events(session: Session) -> list[str]:
    return [kind for kind in session.scalars(sa.select(OutboxEvent.kind).order_by(OutboxEvent.id)) if kind.startswith("public_incident")]


def automatic(session: Session) -> str:
    """One that the watchdog opened, and that waits."""
    ref = LATE(session, TERMINAL)
    session.execute(
        sa.update(PublicIncident).where(PublicIncident.ref == ref).values(published_at=None, publish_at=LATER, automatic="down:x")
    )
    return ref


def test_an_incident_is_told_from_its_opening_to_its_account(sessions: Sessions) -> None:
    with sessions.writing() as session:
        actor = operator(session, factor=True)
        ways: dict[str, dict[str, bool]] = {
            "a@example.net": {},
            "gone@example.net": {"left": True},
            "new@example.net": {"confirmed": False},
        }
        for email, way in ways.items():
            subscriber(session, email, **way)
        ref = LATE(session, actor)
        acts.update_public_incident(session, actor, ref=ref, state="identified", words="Found.\n\nFixing.", impact="minor", now=LATER)
        with pytest.raises(Refused, match="public and over"):
            acts.write_post_mortem(session, actor, ref=ref, account="Why", now=LATER)
        acts.resolve_public_incident(session, actor, ref=ref, words="It works again.", now=LATER)
        acts.write_post_mortem(session, actor, ref=ref, account="A queue was full.", now=LATER)
        (told,) = told_incidents(session, NOW)
        assert (told.title, told.impact, told.state, told.account) == ("Mail is late", "minor", "resolved", "A queue was full.")
        assert [each.words for each in told.updates] == ["It works again.", "Found.\n\nFixing.", "It waits."]
        assert told_incidents(session, LATER + timedelta(seconds=1)) == ()
        letters = session.scalars(sa.select(Letter).where(Letter.kind == "status_told")).all()
        assert [each.email for each in letters] == ["a@example.net"] * 3, "who confirmed and is there still, once for each word"
        assert "It waits" not in str([each.words for each in letters])
        assert events(session) == [f"public_incident.{each}.v1" for each in ("opened", "published", "updated", "resolved", "accounted")]
        said = session.scalars(sa.select(OutboxEvent.public).where(OutboxEvent.kind == "public_incident.updated.v1")).one()
        assert said == {"incident": ref, "impact": "minor", "state": "identified", "components": 1}
        more: tuple[Callable[..., None], ...] = (partial(acts.update_public_incident, state="identified"), acts.resolve_public_incident)
        for act in more:
            with pytest.raises(Refused, match="over already"):
                act(session, actor, ref=ref, words="x", now=LATER)


def test_nobody_writes_without_a_second_factor_and_no_auditor_does(sessions: Sessions) -> None:
    with sessions.writing() as session:
        without = operator(session, factor=False)
        auditor = Actor(user_id=without.user_id, user_ref=without.user_ref, installation_role="auditor")
        ref = automatic(session)
        work: dict[str, Any] = {"planned_from": LATER, "planned_until": LATER + timedelta(hours=1)}
        every: list[Callable[..., Any]] = [
            LATE,
            partial(acts.plan_maintenance, title="Work", words="x", components=["portal"], **work, now=NOW),
            partial(acts.update_public_incident, ref=ref, state="identified", words="x", now=NOW),
            partial(acts.resolve_public_incident, ref=ref, words="x", now=NOW),
            partial(acts.publish_public_incident, ref=ref, now=NOW),
            partial(acts.withhold_public_incident, ref=ref, now=NOW),
            partial(acts.write_post_mortem, ref=ref, account="x", now=NOW),
        ]
        before = events(session)
        for act in every:
            with pytest.raises(NotAllowed, match="second factor") as refused:
                act(session, without)
            assert refused.value.out == "factor"
            with pytest.raises(NotAllowed):
                act(session, auditor)
        assert events(session) == before
        assert session.scalar(sa.select(sa.func.count()).select_from(PublicUpdate)) == 1


def test_what_the_watchdog_opened_is_kept_back_or_published_by_a_person(sessions: Sessions) -> None:
    with sessions.writing() as session:
        subscriber(session, "a@example.net")
        ref = automatic(session)
        session.execute(sa.delete(Letter))
        session.execute(sa.update(PublicUpdate).values(mailed_at=None))
        acts.withhold_public_incident(session, TERMINAL, ref=ref, now=NOW)
        assert told_incidents(session, NOW) == ()
        (held,) = incidents_in_hand(session)
        assert held.standing == "withheld"
        acts.update_public_incident(session, TERMINAL, ref=ref, state="identified", words="Only we know.", now=NOW)
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 0, "what is not public is mailed to nobody"
        acts.publish_public_incident(session, TERMINAL, ref=ref, now=LATER)
        (told,) = told_incidents(session, NOW)
        assert told.published_at == LATER
        assert session.scalar(sa.select(sa.func.count()).select_from(Letter)) == 1, "one mail, with the newest word"
        for act in (acts.publish_public_incident, acts.withhold_public_incident):
            with pytest.raises(Refused, match="public"):
                act(session, TERMINAL, ref=ref, now=LATER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("Checks of shop.example.com fail.", "shop.example.com"),
        ("See https://SHOP.Example.com:8443/start!", "SHOP.Example.com"),
        ("All of example.com (and more)", "example.com"),
        ("deep.www.shop.example.com is", "deep.www.shop.example.com"),
        ("bücher.example and others", "bücher.example"),
        ("shop。example.com", "shop.example.com"),
        ("Mira@Example.org saw it", "Mira@Example.org"),
        ("sub@example.net asked", "sub@example.net"),
        ("mail to who@shop.example.com", "shop.example.com"),
    ],
)
def test_a_name_of_an_account_or_a_person_s_address_is_refused_unless_it_is_meant(sessions: Sessions, words: str, named: str) -> None:
    with sessions.writing() as session:
        owner = make_actor(session)
        make_watches(session, owner, "shop.example.com", "xn--bcher-kva.example")
        ask_status_mail(session, email="sub@example.net", now=NOW)
        with pytest.raises(Refused, match="Nothing was published") as refused:
            LATE(session, TERMINAL, words=words)
        assert f"“{named}”" in str(refused.value)
        with pytest.raises(Refused, match="say that it is meant"):
            LATE(session, TERMINAL, title=words[:200])
        ref = LATE(session, TERMINAL)
        for act in (
            partial(acts.update_public_incident, state="identified", words=words),
            partial(acts.resolve_public_incident, words=words),
        ):
            with pytest.raises(Refused, match="say that it is meant"):
                act(session, TERMINAL, ref=ref, now=NOW)
        acts.resolve_public_incident(session, TERMINAL, ref=ref, words=words, anyway=True, now=NOW)
        with pytest.raises(Refused, match="say that it is meant"):
            acts.write_post_mortem(session, TERMINAL, ref=ref, account=words, now=NOW)


def test_a_withheld_text_that_names_somebody_is_looked_at_when_it_is_published(sessions: Sessions) -> None:
    with sessions.writing() as session:
        ref = automatic(session)
        make_watches(session, make_actor(session), "late.example.com")
        acts.update_public_incident(session, TERMINAL, ref=ref, state="identified", words="late.example.com", anyway=True, now=NOW)
        with pytest.raises(Refused, match=r"late\.example\.com"):
            acts.publish_public_incident(session, TERMINAL, ref=ref, now=NOW)
        acts.publish_public_incident(session, TERMINAL, ref=ref, anyway=True, now=NOW)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"title": " \n"}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"words": ""}, "words"),
        ({"words": "x" * 4_001}, "words"),
        ({"words": "a\x07b"}, "words"),
        ({"words": "a\u202eb"}, "words"),
        ({"impact": "awful"}, "impact"),
        ({"components": []}, "components"),
        ({"components": ["portal", "moon"]}, "components"),
    ],
)
def test_words_that_are_not_fit_to_be_public_are_refused(sessions: Sessions, given: dict[str, Any], field: str) -> None:
    with sessions.writing() as session, pytest.raises(Refused) as refused:
        LATE(session, TERMINAL, **given)
    assert refused.value.field == field


def test_work_is_announced_and_has_states_of_its_own(sessions: Sessions) -> None:
    plan = partial(acts.plan_maintenance, title="Work", words="A new version.", components=["log", "portal"], now=NOW)
    with sessions.writing() as session:
        for begins, ends in ((LATER, LATER), (NOW - timedelta(hours=2), NOW - timedelta(hours=1))):
            with pytest.raises(Refused, match="ends after it begins"):
                plan(session, TERMINAL, planned_from=begins, planned_until=ends)
        ref = plan(session, TERMINAL, planned_from=LATER, planned_until=LATER + timedelta(hours=1))
        with pytest.raises(Refused, match="scheduled, in_progress, verifying"):
            acts.update_public_incident(session, TERMINAL, ref=ref, state="identified", words="x", now=LATER)
        acts.update_public_incident(session, TERMINAL, ref=ref, state="in_progress", words="We began.", now=LATER)
        acts.resolve_public_incident(session, TERMINAL, ref=ref, words="Done.", now=LATER)
        one = one_incident(session, ref)
        assert one is not None
        assert (one.state, one.components, one.planned_from) == ("completed", ("portal", "log"), LATER)
        assert events(session)[0] == "public_incident.planned.v1"
        for act in (acts.publish_public_incident, acts.withhold_public_incident):
            with pytest.raises(Refused, match="no incident with this reference"):
                act(session, TERMINAL, ref="nothing", now=NOW)
