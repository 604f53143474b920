"""What hosts deliver: taken in order and once, believed only by their key, and nothing left out without a word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.access import SILENT_AFTER, give_reason, note_silent_hosts, retire_host, take_delivery, trust_host
from core.actions.policy import Actor, NotAllowed, Refused
from core.reported import Beat
from core.store.access import Access, AccessLine, AccessReport, Host, HostLine, accesses_counted, accesses_since, hosts_there
from tests.hosts import TestHost
from tests.make import NOW, TERMINAL
from tests.portal.conftest import Site

WORKER = Actor(worker=True)


@pytest.fixture
def host(site: Site, tmp_path: Path) -> TestHost:
    made = TestHost(tmp_path)
    with site.sessions.writing() as session:
        trust_host(session, TERMINAL, name=made.name, public_key=made.public_key, now=NOW)
    return made


def deliver(site: Site, delivery: object) -> tuple[int, dict[str, Any]]:
    answer = site.client().post("/access/reports", json=delivery)
    assert "Set-Cookie" not in answer.headers
    return answer.status_code, answer.get_json()


def lines(site: Site) -> tuple[AccessLine, ...]:
    with site.sessions.reading() as session:
        return accesses_since(session, NOW - timedelta(days=1), NOW, most=100)


def standing(site: Site) -> HostLine:
    with site.sessions.reading() as session:
        (line,) = hosts_there(session)
    return line


def happened(site: Site) -> list[str]:
    with site.sessions.reading() as session:
        kinds = session.scalars(sa.select(OutboxEvent.kind).where(OutboxEvent.kind.like("%access%")).order_by(OutboxEvent.id))
        return list(kinds)


def test_an_access_is_told_from_its_beginning_to_its_end(site: Site, host: TestHost) -> None:
    opened = host.opened(NOW - timedelta(minutes=9), "s1")
    reports = [opened, host.report("completed", NOW, session="s1", kind="sftp"), host.report("reason", NOW, session="s1", reason="a look")]
    assert deliver(site, host.delivery(NOW, reports, still=["s1"])) == (200, {"next": 4})
    (line,) = lines(site)
    assert (line.host, line.kind, line.role, line.person, line.origin) == ("web-1", "sftp", "administrator", "root", "192.0.2.7")
    assert (line.reason, line.ended_at, line.started_at) == ("a look", None, NOW - timedelta(minutes=9))
    assert standing(site).open == 1
    assert deliver(site, host.delivery(NOW, [*reports, host.report("closed", NOW, session="s1")])) == (200, {"next": 5})
    (line,) = lines(site)
    assert (line.ended_at, line.ending) == (NOW, "closed")
    assert happened(site) == ["access.opened.v1", "access.completed.v1", "access.reasoned.v1", "access.closed.v1"]


def test_what_is_told_again_is_passed_over_and_what_is_missing_is_asked_for(site: Site, host: TestHost) -> None:
    first, second, third = (host.opened(NOW, f"s{number}") for number in range(3))
    still = ["s0", "s1", "s2"]
    assert deliver(site, host.delivery(NOW, [first], still=still)) == (200, {"next": 2})
    assert deliver(site, host.delivery(NOW, [first, third], still=still)) == (200, {"next": 2})
    assert standing(site).waiting == 2
    assert deliver(site, host.delivery(NOW, [third, second], still=still)) == (200, {"next": 4})
    assert len(lines(site)) == 3
    assert standing(site).waiting == 0


def test_a_number_that_a_host_has_no_more_is_told_as_lost(site: Site, host: TestHost) -> None:
    host.opened(NOW, "gone")
    lost = host.signed({"form": "keychest-access-1", "host": "web-1", "number": 1, "at": "2026-11-24T09:00:00Z", "what": "lost"})
    closed = host.report("closed", NOW, session="gone")
    assert deliver(site, host.delivery(NOW, [lost, closed])) == (200, {"next": 3})
    assert standing(site).lost == 1
    (line,) = lines(site)
    assert (line.ending, line.role) == ("closed", "user")
    assert happened(site)[0] == "access_report.lost.v1"


def forged(host: TestHost, other: TestHost) -> dict[str, dict[str, Any]]:
    """Deliveries that nobody may believe, by what is wrong with them."""
    torn = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"
    good = host.opened(NOW, "forged")
    host.numbers = 0
    told = {"form": "keychest-access-1", "host": "web-1", "number": 1, "at": "2026-11-24T09:00:00Z", "what": "closed", "session": "s"}
    changed = {"text": good["text"].replace("192.0.2.7", "192.0.2.8"), "signature": good["signature"]}
    return {
        "by another key": host.delivery(NOW, [other.signed(told)]),
        "a text that was changed": host.delivery(NOW, [changed]),
        "in another namespace": host.delivery(NOW, [host.signed(told, namespace="file")]),
        "no signature": host.delivery(NOW, [{"text": good["text"], "signature": ""}]),
        "garbage for one": host.delivery(NOW, [{"text": good["text"], "signature": torn}]),
        "about another host": host.delivery(NOW, [host.signed(told | {"host": "web-2"})]),
        "a field more": host.delivery(NOW, [host.signed(told | {"kind": "ssh"})]),
        "no number": host.delivery(NOW, [host.signed(told | {"number": True})]),
        "a huge number": host.delivery(NOW, [host.signed(told | {"number": 2**60})]),
        "an odd time": host.delivery(NOW, [host.signed(told | {"at": "2026-13-24T09:00:00Z"})]),
        "a local time": host.delivery(NOW, [host.signed(told | {"at": "2026-11-24T09:00:00+01:00"})]),
        "a heartbeat as a report": host.delivery(NOW, [host.beat(NOW)]),
        "a beat by another key": {"host": "web-1", "beat": other.beat(NOW), "reports": []},
    }


@pytest.mark.slow
def test_what_does_not_hold_is_refused_counted_and_changes_nothing(site: Site, host: TestHost, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for what, delivery in forged(host, TestHost(tmp_path / "other")).items():
        status, told = deliver(site, delivery)
        assert status in {400, 403}, what
        assert told["error"].endswith("Nothing was taken."), what
    assert lines(site) == ()
    assert standing(site).refused == 1  # a minute's are counted as one
    assert happened(site) == ["access_report.refused.v1"]
    with site.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(AccessReport)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("delivery", [None, [], {}, {"host": 1}, {"host": "../x"}, {"host": "web-9", "beat": {}, "reports": []}])
def test_what_is_no_delivery_of_a_known_host_is_answered_in_words(site: Site, host: TestHost, delivery: object) -> None:
    status, told = deliver(site, delivery)
    assert (status, standing(site).refused) in {(400, 0), (403, 0)}
    assert told["error"]


def test_a_delivery_that_is_replayed_or_contradicts_is_refused_and_shown(site: Site, host: TestHost) -> None:
    delivery = host.delivery(NOW, [host.opened(NOW, "s1")], still=["s1"])
    assert deliver(site, delivery) == (200, {"next": 2})
    status, told = deliver(site, delivery)
    assert (status, told["next"]) == (409, 2)
    assert "Heartbeat 1 is not newer" in told["error"]
    host.numbers = 0
    otherwise = host.opened(NOW, "s1", user="somebody else")
    assert deliver(site, host.delivery(NOW, [otherwise], still=["s1"]))[0] == 409
    assert deliver(site, host.delivery(NOW, [], last=0))[0] == 409  # its spool was set back
    assert standing(site).refused == 1
    assert [line.person for line in lines(site)] == ["root"]


def test_what_a_host_no_longer_has_open_ends_as_lost(site: Site, host: TestHost) -> None:
    host.opened(NOW - timedelta(hours=2), "before"), host.opened(NOW, "now")
    assert deliver(site, host.delivery(NOW, host.kept[:1], still=["now"])) == (200, {"next": 2})
    assert [line.ended_at for line in lines(site)] == [None]  # not all it has to say has come
    assert deliver(site, host.delivery(NOW, host.kept, still=["now"])) == (200, {"next": 3})
    assert [(line.ending, line.ended_at) for line in lines(site)] == [("", None), ("lost", NOW)]


def test_a_wrong_clock_is_told_with_the_access(site: Site, host: TestHost) -> None:
    early = NOW - timedelta(hours=5)
    assert deliver(site, host.delivery(early, [host.opened(early, "s1")], still=["s1"])) == (200, {"next": 2})
    (line,) = lines(site)
    assert line.started_at == early
    assert line.skewed_s == standing(site).skew_s == pytest.approx(-18_000, abs=120)
    with site.sessions.reading() as session:
        assert session.scalars(sa.select(Access.recorded_at)).one() >= NOW


def test_a_host_that_says_nothing_is_silent_until_it_says_something(site: Site, host: TestHost) -> None:
    later = NOW + SILENT_AFTER + timedelta(seconds=1)
    with site.sessions.writing() as session:
        assert note_silent_hosts(session, WORKER, now=NOW + SILENT_AFTER) == []
        assert note_silent_hosts(session, WORKER, now=later) == ["web-1"]
        assert note_silent_hosts(session, WORKER, now=later) == []
    assert standing(site).silent_at == later
    assert deliver(site, host.delivery(NOW, [])) == (200, {"next": 1})
    assert standing(site).silent_at is None


def test_a_reason_is_given_later_and_once(site: Site, host: TestHost) -> None:
    deliver(site, host.delivery(NOW, [host.opened(NOW, "s1")], still=["s1"]))
    (line,) = lines(site)
    with site.sessions.writing() as session:
        acts: tuple[Callable[[], object], ...] = (
            lambda: give_reason(session, TERMINAL, ref=line.ref, reason="short", now=NOW),
            lambda: give_reason(session, TERMINAL, ref=line.ref, reason="x" * 301, now=NOW),
            lambda: give_reason(session, TERMINAL, ref=line.ref, reason="a bell \a rings in it", now=NOW),
        )
        for act in acts:
            with pytest.raises(Refused):
                act()
        with pytest.raises(NotAllowed):
            give_reason(session, site.actors["owner"], ref=line.ref, reason="the relay's queue was stuck", now=NOW)
        assert not give_reason(session, TERMINAL, ref="nothing", reason="the relay's queue was stuck", now=NOW)
        assert give_reason(session, TERMINAL, ref=line.ref, reason="the relay's  queue\nwas stuck", now=NOW)
        with pytest.raises(Refused):
            give_reason(session, TERMINAL, ref=line.ref, reason="another reason than that", now=NOW)
    assert lines(site)[0].reason == "the relay's queue was stuck"


def test_a_reason_that_names_what_is_somebody_s_is_not_for_strangers(site: Site, host: TestHost) -> None:
    site.add("shop.example.org")
    named = "a look at shop.example.org, which is down"
    reports = [host.opened(NOW, "s1"), host.report("reason", NOW, session="s1", reason=named)]
    deliver(site, host.delivery(NOW, [*reports, host.opened(NOW, "s2")], still=["s1", "s2"]))
    second, first = sorted(lines(site), key=lambda line: line.reason)
    assert (first.reason, first.hidden) == (named, True)
    with site.sessions.writing() as session, pytest.raises(Refused, match=r"shop\.example\.org is somebody's"):
        give_reason(session, TERMINAL, ref=second.ref, reason=named, now=NOW)


def test_hosts_are_trusted_by_who_runs_the_installation_and_retired(site: Site, host: TestHost) -> None:
    with site.sessions.writing() as session:
        for name, key, word in (
            ("Web 1", host.public_key, "lower-case"),
            ("web-2", "ssh-rsa AAAA", "Ed25519"),
            ("web-1", host.public_key, "already"),
        ):
            with pytest.raises(Refused, match=word):
                trust_host(session, TERMINAL, name=name, public_key=key, now=NOW)
        with pytest.raises(NotAllowed):
            trust_host(session, site.actors["owner"], name="web-2", public_key=host.public_key, now=NOW)
    deliver(site, host.delivery(NOW, [host.opened(NOW, "s1")], still=["s1"]))
    with site.sessions.writing() as session:
        retire_host(session, TERMINAL, name="web-1", now=NOW)
        with pytest.raises(Refused):
            retire_host(session, TERMINAL, name="web-1", now=NOW)
        assert hosts_there(session) == ()
    assert [line.ending for line in lines(site)] == ["lost"]
    assert deliver(site, host.delivery(NOW, []))[0] == 403


def test_times_that_no_clock_has_are_taken_for_the_nearest_and_the_access_is_shown(site: Site, host: TestHost) -> None:
    ends = (datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
    for number, at in enumerate(ends):
        reports = [host.opened(at, f"s{number}"), host.report("closed", at, session=f"s{number}")]
        assert deliver(site, host.delivery(at, reports))[0] == 200
    found = {line.started_at.year for line in lines(site)}
    assert found == {2000, 2199}  # in the list of 90 days, since they were told of today


def test_what_no_database_stores_is_refused(site: Site, host: TestHost) -> None:
    half = host.opened(NOW, "s1", user="\ud800")
    status, told = deliver(site, host.delivery(NOW, [half], still=["s1"]))
    assert (status, "printable" in told["error"]) == (400, True)
    answer = site.client().post("/access/reports", data="[" * 200_000, content_type="application/json")
    assert answer.status_code == 400


def test_lost_reports_in_a_row_are_one_entry_and_a_host_that_is_trusted_again_goes_on(site: Site, host: TestHost) -> None:
    lost = [host.report("lost", NOW) for _ in range(5)]
    assert deliver(site, host.delivery(NOW, [*lost, host.opened(NOW, "s1")], still=["s1"])) == (200, {"next": 7})
    assert happened(site) == ["access_report.lost.v1", "access.opened.v1"]
    assert standing(site).lost == 5
    with site.sessions.writing() as session:
        retire_host(session, TERMINAL, name=host.name, now=NOW)
        trust_host(session, TERMINAL, name=host.name, public_key=host.public_key, now=NOW)
    assert deliver(site, host.delivery(NOW, [host.opened(NOW, "s2")], still=["s2"])) == (200, {"next": 8})
    assert len(lines(site)) == 2


def test_a_delivery_that_a_retirement_overtook_is_not_taken(site: Site, host: TestHost) -> None:
    with site.sessions.writing() as session:
        held = session.scalars(sa.select(Host)).one()
        retire_host(session, TERMINAL, name=host.name, now=NOW)
        taken = take_delivery(session, host_id=held.id, beat=Beat(9, NOW, 0, "b", ()), reports=(), now=NOW)
    assert "not trusted any more" in taken.trouble


def test_what_is_open_is_listed_however_many_came_after(site: Site, host: TestHost) -> None:
    deliver(site, host.delivery(NOW, [host.opened(NOW - timedelta(hours=9), "root")], still=["root"]))
    for number in range(4):
        reports = [host.opened(NOW, f"s{number}", kind="sftp"), host.report("closed", NOW, session=f"s{number}")]
        deliver(site, host.delivery(NOW, reports, still=["root"]))
    with site.sessions.reading() as session:
        since = NOW - timedelta(days=1)
        few = accesses_since(session, since, NOW, most=2)
        assert accesses_counted(session, since) == 5
    assert [(line.kind, line.ended_at is None) for line in few] == [("ssh", True), ("sftp", False), ("sftp", False)]


def test_a_host_that_was_heard_in_the_future_is_silent(site: Site, host: TestHost) -> None:
    with site.sessions.writing() as session:
        session.execute(sa.update(Host).values(heard_at=NOW + timedelta(hours=5)))
        assert note_silent_hosts(session, WORKER, now=NOW) == ["web-1"]


def test_a_reason_of_many_names_is_not_looked_through_and_not_for_strangers(site: Site, host: TestHost) -> None:
    many = " ".join(f"n{number}.test" for number in range(6))
    reports = [host.opened(NOW, "s1"), host.report("reason", NOW, session="s1", reason=many)]
    reports += [host.opened(NOW, "s2"), host.report("reason", NOW, session="s2", reason="n1.test does not answer")]
    deliver(site, host.delivery(NOW, reports, still=["s1", "s2"]))
    assert {line.reason: line.hidden for line in lines(site)} == {many: True, "n1.test does not answer": False}
