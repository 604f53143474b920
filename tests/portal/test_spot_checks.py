"""The spot check's pages: asked by anybody, followed, read by whoever has the link, gone after a day."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.actions.spot_checks import PER_VISITOR, claim_spot_check, record_spot_check, spot_check_may_dial
from core.net.optout import OptedOut
from core.scanner.path import Roots
from core.scanner.publicly import answer_of
from core.scanner.verdict import judge
from core.store.spot_checks import KEPT, SpotCheck
from demo.pki import make_chain
from tests.make import NOW, make_scan
from tests.portal.conftest import MakeSite, Site, post


def asked(site: Site, name: str = "a.example") -> str:
    answer = post(site.client(), "/check", {"name": name})
    assert answer.status_code == 303
    path: str = answer.location
    return path


def answered(site: Site, answer: dict[str, Any], *, shown_after: timedelta = timedelta(0)) -> None:
    with site.sessions.writing() as session:
        claim = claim_spot_check(session, 1, NOW)
        assert claim is not None
        assert record_spot_check(session, 1, claim, answer=answer, shown_at=NOW + shown_after)


def good() -> dict[str, Any]:
    chain = make_chain(["a.example", "b.example"], now=NOW)
    scan = make_scan("a.example", {"192.0.2.1": chain.ders, "2001:db8::1": chain.ders})
    return answer_of(judge(scan, Roots.of([chain.root.certificate]), NOW))


def test_a_stranger_asks_follows_and_reads_the_answer(site: Site) -> None:
    path = asked(site)
    waiting = site.client().get(path)
    assert "Waiting for a worker" in waiting.text
    assert f'hx-get="{path}"' in waiting.text
    assert waiting.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert waiting.headers["Cache-Control"] == "no-store"
    with site.sessions.writing() as session:
        claim_spot_check(session, 1, NOW - timedelta(minutes=5))
        spot_check_may_dial(session, 1, ["192.0.2.1"], NOW)
    assert "1 address found" in site.client().get(path, headers={"HX-Request": "true"}).text
    answered(site, good())
    page = site.client().get(path).text
    assert "Well until" in page
    plain = page.replace("<wbr>", "")
    assert "b.example" in plain
    assert "2001:db8::1" in plain
    assert "hx-get" not in page.partition("<main")[2]


def test_an_answer_is_not_shown_before_its_time(site: Site) -> None:
    path = asked(site)
    answered(site, good(), shown_after=timedelta(minutes=2))
    page = site.client().get(path).text
    assert "Well until" not in page
    assert f'hx-get="{path}"' in page


def test_the_link_ends_after_a_day_and_a_guess_leads_nowhere(site: Site, make_site: MakeSite) -> None:
    path = asked(site)
    assert site.client().get("/check/" + "0" * 32).status_code == 404
    later = make_site(now=lambda: NOW + timedelta(minutes=1) + KEPT)
    ended = later.client().get(path)
    assert ended.status_code == 404
    assert "deleted 24 hours after it was asked" in ended.text


@pytest.mark.parametrize(
    ("typed", "words"), [("", "name"), ("a.example:22", "Port 22"), ("10.0.0.1", "IP address"), ("<b>x</b>", "&lt;b&gt;")]
)
def test_what_is_not_taken_is_told_and_kept(site: Site, typed: str, words: str) -> None:
    answer = post(site.client(), "/check", {"name": typed})
    assert answer.status_code == 422
    assert words in answer.text
    assert "<b>x</b>" not in answer.text
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(SpotCheck)) == 0


def test_too_many_are_told_when_to_come_again(site: Site) -> None:
    for number in range(PER_VISITOR):
        asked(site, f"n{number}.example")
    answer = post(site.client(), "/check", {"name": "more.example"})
    assert answer.status_code == 429
    assert "Try again after" in answer.text
    assert 'value="more.example"' in answer.text


def test_who_asked_not_to_be_scanned_is_told_so(make_site: MakeSite) -> None:
    site = make_site(opted_out=OptedOut(frozenset({"quiet.example"})))
    answer = post(site.client(), "/check", {"name": "www.quiet.example"})
    assert answer.status_code == 429
    assert "asked not to be scanned" in answer.text


def test_an_operator_may_switch_it_off(make_site: MakeSite) -> None:
    site = make_site(spot_check=False)
    assert "/check" not in site.client().get("/sign-in").text
    for path in ("/check", "/check/about", "/check/" + "0" * 32):
        assert site.client().get(path).status_code == 404
    assert post(site.client(), "/check", {"name": "a.example"}).status_code == 404


def test_hostile_words_of_a_certificate_stay_words(site: Site) -> None:
    path = asked(site)
    hostile = "<script>alert(1)</script>\u202e"
    finding = {"check": "X", "status": "error", "message": hostile, "cause": hostile, "fix": hostile, "addresses": ["192.0.2.1"]}
    answer = good() | {"findings": [finding], "sentence": hostile, "state": "bad"}
    answer["certificates"] = [each | {"subject": hostile, "issuer": hostile, "names": [hostile]} for each in answer["certificates"]]
    answered(site, answer)
    page = site.client().get(path).text
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_how_we_scan_is_linked_and_says_it(site: Site) -> None:
    assert "/check/about" in site.client().get("/check").text
    text = site.client().get("/check/about").text
    assert "EHLO keychest-scan.invalid" in text
    assert "How to ask us to stop" in text
