"""The page on which operators tell the public: who may, what is drawn for whom, and that what strangers read stays text."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from core.actions.policy import Actor
from core.actions.watchdog import watch_public_incidents
from core.status.faults import Fault
from core.store.base import new_ref
from core.store.factors import Factor
from core.store.public_incidents import IncidentRow, Subscriber, incidents_in_hand, incidents_over
from tests.make import NOW
from tests.portal.conftest import MakeSite, Site, post
from tests.portal.test_operations import run_by, text_of

STATUS = "/operations/status"
GIVEN: dict[str, str | list[str]] = {
    "title": "Mail <i>is</i> late",
    "words": "It <b>waits</b>.\r\n\r\nNone is lost.",
    "impact": "major",
    "components": ["notifications", "log"],
}
WORK: dict[str, str | list[str]] = {"from": "2026-11-30T22:00", "until": "2026-11-30T23:00"}


def operator(site: Site, *, factor: bool = True, who: str = "stranger", role: str = "operator") -> FlaskClient:
    if factor:
        app = Factor(ref=new_ref(), user_id=site.actors[who].user_id, kind="app", sealed="x", created_at=NOW, confirmed_at=NOW)
        app.last_used_at = app.deleted_at = None
        with site.sessions.writing() as session:
            session.add(app)
    return run_by(site, who, role)


def watched(site: Site) -> str:
    """What the watchdog opened, and only operators see."""
    fault = Fault("down:portal", NOW - timedelta(minutes=9), "Web and API: late", "It is late.", ("portal",), "minor")
    with site.sessions.writing() as session:
        watch_public_incidents(session, Actor(worker=True), [fault], delay=timedelta(minutes=10), now=NOW)
    return hand(site)[0].ref


def hand(site: Site) -> tuple[IncidentRow, ...]:
    with site.sessions.reading() as session:
        return incidents_in_hand(session)


@pytest.mark.slow
def test_an_incident_is_told_updated_ended_and_accounted_for(site: Site) -> None:
    client = operator(site)
    with site.sessions.writing() as session:
        session.add(Subscriber(ref=new_ref(), email="canary@example.net", asked_at=NOW, confirmed_at=NOW, left_at=None))
    answer = post(client, f"{STATUS}/open", GIVEN)
    assert answer.status_code == 303
    (one,) = hand(site)
    assert answer.location == f"{STATUS}/{one.ref}"
    assert (one.standing, one.components) == ("public", ("notifications", "log"))
    acts: tuple[tuple[str, dict[str, str | list[str]]], ...] = (
        ("update", {"state": "monitoring", "impact": "minor", "words": "Better."}),
        ("resolve", {"words": "Over."}),
        ("account", {"account": "A queue <u>was</u> full."}),
    )
    for act, data in acts:
        assert post(client, f"{STATUS}/{one.ref}/{act}", data).location == answer.location, act
    for path in (STATUS, f"{STATUS}/{one.ref}"):
        shown = client.get(path).text
        assert "canary" not in shown
        assert not any(hostile in shown for hostile in ("<i>is", "<b>waits", "<u>was"))
    told = text_of(client.get(f"{STATUS}/{one.ref}").text)
    assert all(each in told for each in ("Better.", "Over.", "A queue <u>was</u> full.", "Monitoring"))
    assert "1 person is told by mail" in text_of(client.get(STATUS).text)


@pytest.mark.slow
def test_what_is_refused_is_kept_as_it_was_typed_and_a_name_that_is_meant_needs_a_tick(site: Site) -> None:
    site.add("shop.example.com")
    client = operator(site)
    answer = post(client, f"{STATUS}/open", GIVEN | {"words": "All but shop.example.com"})
    assert answer.status_code == 422
    told = text_of(answer.text)
    assert "“shop.example.com” is a name that an account watches" in told
    assert "All but shop.example.com</textarea>" in told
    assert hand(site) == ()
    assert post(client, f"{STATUS}/open", GIVEN | {"words": "All but shop.example.com", "anyway": "1"}).status_code == 303
    answer = post(client, f"{STATUS}/plan", GIVEN | {"from": "soon", "until": ""})
    assert answer.status_code == 422
    assert "Write day and time in UTC" in answer.text
    planned = post(client, f"{STATUS}/plan", GIVEN | WORK)
    assert planned.status_code == 303
    assert "30 Nov 2026, 22:00" in text_of(client.get(planned.location).text)


@pytest.mark.slow
@pytest.mark.parametrize(("act", "public"), [("publish", ["public"]), ("withhold", ["withheld"])])
def test_what_the_watchdog_opened_is_published_or_kept_back_by_a_button(site: Site, act: str, public: list[str]) -> None:
    ref = watched(site)
    client = operator(site)
    shown = text_of(client.get(STATUS).text)
    assert "1 incident becomes public soon." in shown
    assert "It becomes public " in shown
    assert post(client, f"{STATUS}/{ref}/{act}").status_code == 303
    assert [each.standing for each in hand(site)] == public
    again = post(client, f"{STATUS}/{ref}/{act}")
    assert again.status_code == 422
    assert "Nothing was changed." in again.text
    assert post(client, f"{STATUS}/nothing/{act}").status_code == 404


@pytest.mark.slow
def test_who_has_no_second_factor_and_who_only_looks_is_drawn_no_button_and_refused(site: Site) -> None:
    ref = watched(site)
    for client in (operator(site, factor=False), operator(site, who="manager", role="auditor")):
        for path in (STATUS, f"{STATUS}/{ref}"):
            shown = client.get(path)
            assert shown.status_code == 200
            assert f"{STATUS}/" not in "".join(part[:80] for part in shown.text.split("<form")[1:]), "no form leads here"
        for path in ("open", "plan", *(f"{ref}/{act}" for act in ("publish", "withhold", "update", "resolve", "account"))):
            assert post(client, f"{STATUS}/{path}", GIVEN | WORK | {"state": "identified", "account": "x"}).status_code == 403, path
    (one,) = hand(site)
    assert (one.standing, len(one.updates)) == ("waiting", 1)
    assert "You need a second factor to write here" in site.client("stranger").get(STATUS).text


def test_a_demonstrations_operator_is_not_sent_where_none_can_be_set_up(make_site: MakeSite) -> None:
    text = operator(make_site(demo=("a@example.org", "x")), factor=False).get(STATUS).text
    assert "A demonstration has none" in text
    assert "/security/app" not in text


def test_a_text_to_begin_with_is_filled_in(site: Site) -> None:
    client = operator(site)
    for key, words in (("mail", "Publish the incident"), ("work", "Announce the work"), ("none", "Publish the incident")):
        shown = client.get(f"{STATUS}?ready={key}").text
        assert words in shown
        assert ("E-mail is late" in shown.partition('id="title"')[2][:200]) == (key == "mail")
    with site.sessions.reading() as session:
        assert incidents_over(session, 9) == ()
        assert session.scalar(sa.select(sa.func.count()).select_from(Factor)) == 1
