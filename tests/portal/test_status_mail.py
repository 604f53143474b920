"""Public incidents by mail: asked for by anybody, confirmed, sent with a way out in each, and left with one click."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.actions.public_incidents import open_public_incident, resolve_public_incident
from core.store.erase import purge_subscribers
from core.store.letters import Letter
from core.store.public_incidents import Subscriber, subscribers_counted
from core.store.undelivered import undelivered
from tests.mailed import Post, link
from tests.make import NOW, TERMINAL
from tests.portal.conftest import PEOPLE, MakeSite, Site, forget_tries, post
from tests.stage import smtp_sink

ASK = "/status/subscribe"
EMAIL = "reader@example.net"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def mailed(site: Site) -> Post:
    return Post(site.sessions, site.app.extensions["keychest"].parts.keys.path.parent, NOW + 2 * MINUTE)


def subscribe(site: Site, mailed: Post) -> None:
    client = site.client()
    forget_tries()
    assert post(client, ASK, {"email": EMAIL}).status_code == 200
    token = link(mailed.send()[-1], "/status/confirm/")
    assert client.get(f"/status/confirm/{token}").status_code == 200
    assert count(site) == 0, "programs that look through mails open links"
    assert "You will be told" in post(client, f"/status/confirm/{token}").text
    assert post(client, f"/status/confirm/{token}").status_code == 422, "once"
    assert count(site) == 1


def count(site: Site) -> int:
    with site.sessions.reading() as session:
        return subscribers_counted(session)


def tell(site: Site) -> str:
    given = {"title": "Mail is <b>late</b>", "words": "It waits.\n\nNothing is lost.", "impact": "major"}
    with site.sessions.writing() as session:
        return open_public_incident(session, TERMINAL, **given, components=["notifications"], anyway=False, now=NOW + 2 * MINUTE)


@pytest.mark.slow
def test_each_mail_says_how_to_leave_and_one_click_does(site: Site, mailed: Post) -> None:
    subscribe(site, mailed)
    ref = tell(site)
    with smtp_sink() as sink:
        mailed.smtp_url = sink.url
        mailed.send()
        ((recipient, mail),) = sink.mails
        assert (recipient, mail["Subject"]) == (EMAIL, "Mail is <b>late</b>: investigating")
        assert "It waits.\n\nNothing is lost." in str(mail.get_content()).replace("\r", "")
        assert f"https://keys.example.org/incidents/{ref}/" in str(mail.get_content())
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        (path,) = re.findall(r"^<https://keys\.example\.org(/status/leave/\S+)>$", dict(mail.raw_items())["List-Unsubscribe"])
        assert "No more of these mails" in site.client().get(path).text
        assert count(site) == 1, "looking at the page changes nothing"
        with site.sessions.writing() as session:
            resolve_public_incident(session, TERMINAL, ref=ref, words="It is over.", now=NOW + 2 * MINUTE)
        forged = path[:-1] + ("0" if path[-1] != "0" else "1")
        assert site.client().get(forged).status_code == 404
        assert site.client().post(forged).status_code == 422
        assert count(site) == 1, "a mark that is not ours ends nothing"
        one_click = {"List-Unsubscribe": "One-Click"}
        assert site.client().post(path, data=one_click, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
        assert count(site) == 0
        assert site.client().post(path, data=one_click).status_code == 200, "twice is as once"
        mailed.send()
        assert len(sink.mails) == 1, "what was on its way stays here"
        mailed.smtp_url = ""
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Letter.outcome).order_by(Letter.id)).all()[-1] == "gone"
    site.app.extensions["keychest"].parts.keys.rotate()
    assert site.client().get(path).status_code == 200, "a link outlives a change of keys"
    subscribe(site, mailed)
    assert site.client().post(path, data=one_click).status_code == 200
    assert count(site) == 1, "an old link does not end what was begun anew"


@pytest.mark.slow
def test_the_answer_tells_nobody_who_is_told_already(site: Site, mailed: Post) -> None:
    subscribe(site, mailed)
    answers = set()
    for email in (EMAIL, "other@example.net", PEOPLE["owner"]):
        forget_tries()
        answer = post(site.client(), ASK, {"email": email.upper()})
        text = re.sub(r'name="csrf-token" content="[^"]+"', "", answer.text.replace("<wbr>", "")).replace(email, "E")
        answers.add((answer.status_code, text))
    assert len(answers) == 1
    mails = mailed.send()
    assert sorted("Do you want" in each for each in mails) == [False, True, True]
    assert sum("/status/confirm/" in each for each in mails) == 2
    assert post(site.client(), ASK, {"email": "no address"}).status_code == 422


@pytest.mark.slow
def test_doors_are_tried_a_few_times_only_and_no_letter_box_is_filled(site: Site, mailed: Post) -> None:
    forget_tries()
    client = site.client()
    answers = [post(client, ASK, {"email": EMAIL}).status_code for _ in range(6)]
    forget_tries()
    assert answers[-1] == 429
    assert len(mailed.send()) == 3
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Subscriber)) == 1


def test_a_link_to_confirm_holds_for_two_days_and_the_address_goes_after_a_week(make_site: MakeSite) -> None:
    at = [NOW]
    site = make_site(now=lambda: at[0])
    mailed = Post(site.sessions, site.app.extensions["keychest"].parts.keys.path.parent, NOW)
    forget_tries()
    post(site.client(), ASK, {"email": EMAIL})
    token = link(mailed.send()[0], "/status/confirm/")
    at[0] = NOW + timedelta(days=2)
    assert site.client().get(f"/status/confirm/{token}").status_code == 404
    assert post(site.client(), f"/status/confirm/{token}").status_code == 422
    assert count(site) == 0
    with site.sessions.writing() as session:
        assert purge_subscribers(session, NOW + timedelta(days=7)) == 0
        assert purge_subscribers(session, NOW + timedelta(days=7, seconds=1)) == 1


@pytest.mark.slow
def test_addresses_are_shown_to_nobody_and_those_who_left_are_dropped(site: Site, mailed: Post) -> None:
    subscribe(site, mailed)
    tell(site)
    mailed.smtp_url = "smtp://127.0.0.1:1"
    mailed.send()
    left = NOW + MINUTE
    with site.sessions.writing() as session:
        rows = undelivered(session, until=None, skip=0, most=9)
        assert [(each.email, each.about) for each in rows] == [("a subscriber", "A public incident")]
        assert EMAIL not in str(rows)
        assert purge_subscribers(session, NOW + timedelta(days=900)) == 0, "who wants to be told stays"
        session.execute(sa.update(Subscriber).values(left_at=left))
        assert purge_subscribers(session, left + timedelta(days=30)) == 0
        assert purge_subscribers(session, left + timedelta(days=30, seconds=1)) == 1
