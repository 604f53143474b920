"""What strangers may ask: which ports, how often, about whom."""

import threading
from datetime import timedelta
from ipaddress import ip_network

import pytest
import sqlalchemy as sa

from core.actions import spot_checks
from core.actions.policy import Refused
from core.actions.spot_checks import (
    LEASE,
    Visitor,
    ask_spot_check,
    claim_spot_check,
    read_spot_target,
    record_spot_check,
    spot_check_may_dial,
)
from core.net.names import Listed
from core.net.optout import OptedOut
from core.store.db import Sessions
from core.store.endpoints import Endpoint
from core.store.spot_checks import KEPT, SpotCheck, SpotDial, purge_spot_checks, spot_check, spot_checks_waiting
from tests.make import NOW

KEY = "k" * 32


def ask(sessions: Sessions, name: str, *, at: str = "192.0.2.1", opted_out: OptedOut | None = None, later: timedelta = timedelta(0)) -> str:
    with sessions.writing() as session:
        visitor = Visitor.at(at, KEY)
        return ask_spot_check(session, listed=Listed(name, 443), visitor=visitor, opted_out=opted_out or OptedOut(), now=NOW + later)


@pytest.mark.parametrize("text", ["a.example", "a.example:8443", "mail.example:25", "mail.example:993", "https://a.example/x"])
def test_web_and_mail_ports_are_taken(text: str) -> None:
    assert read_spot_target(text).name.endswith(".example")


@pytest.mark.parametrize("port", [1, 22, 80, 389, 444, 3306, 5432, 6379, 8080, 65535])
def test_any_other_port_is_refused_in_words(port: int) -> None:
    with pytest.raises(Refused, match=f"Port {port} is not checked for strangers"):
        read_spot_target(f"a.example:{port}")


@pytest.mark.parametrize("text", ["a.example 192.0.2.7", "a.example:443 smtp", "127.0.0.1", "", "a b", "x" * 300, "a.example:25 tls"])
def test_no_other_way_to_reach_a_name_is_taken(text: str) -> None:
    with pytest.raises(Refused):
        read_spot_target(text)


@pytest.mark.slow
def test_a_question_creates_no_endpoint_and_ends_after_a_day(sessions: Sessions) -> None:
    ref = ask(sessions, "a.example")
    assert len(ref) == 32
    with sessions.writing() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Endpoint)) == 0
        assert spot_check(session, ref, NOW + KEPT - timedelta(seconds=1)) is not None
        assert spot_check(session, ref, NOW + KEPT) is None
        assert spot_check_may_dial(session, 1, ["192.0.2.9"], NOW) == ""
        assert purge_spot_checks(session, NOW + KEPT - timedelta(seconds=1)) == 0
        assert purge_spot_checks(session, NOW + KEPT) == 1
        assert session.scalar(sa.select(sa.func.count()).select_from(SpotDial)) == 0


def test_one_visitor_asks_so_much_and_the_address_is_not_kept(sessions: Sessions) -> None:
    for number in range(spot_checks.PER_VISITOR):
        ask(sessions, f"n{number}.example", at="2001:db8::1")
    with pytest.raises(Refused, match="You asked 10 times"):
        ask(sessions, "more.example", at="2001:db8::1")
    ask(sessions, "more.example", at="2001:db8:0:1::1")
    ask(sessions, "more.example", at="2001:db8::1", later=spot_checks.WINDOW)
    with sessions.reading() as session:
        kept = session.execute(sa.select(SpotCheck.visitor, SpotCheck.network)).all()
    assert "2001:db8" not in str(kept)


@pytest.mark.slow
def test_a_network_asks_so_much_though_its_visitors_change(sessions: Sessions) -> None:
    for number in range(spot_checks.PER_NETWORK):
        ask(sessions, f"n{number}.example", at=f"198.51.100.{number}")
    with pytest.raises(Refused, match="from your network"):
        ask(sessions, "more.example", at="198.51.100.200")
    ask(sessions, "more.example", at="203.0.113.1")


def test_one_name_is_asked_for_so_often_by_everybody_together(sessions: Sessions) -> None:
    for number in range(spot_checks.PER_NAME):
        ask(sessions, "victim.example", at=f"10.{number}.0.1")
    with pytest.raises(Refused, match="by all together"):
        ask(sessions, "victim.example", at="10.99.0.1")


@pytest.mark.slow
def test_the_limits_hold_for_many_who_ask_at_once(sessions: Sessions) -> None:
    outcomes: list[str] = []

    def one(number: int) -> None:
        try:
            outcomes.append(ask(sessions, "victim.example", at=f"10.{number}.0.1"))
        except Refused as refused:
            outcomes.append(str(refused))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3 * spot_checks.PER_NAME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == len(threads)
    assert sum("by all together" not in outcome for outcome in outcomes) == spot_checks.PER_NAME


def test_many_names_of_one_address_are_dialled_so_often(sessions: Sessions) -> None:
    with sessions.writing() as session:
        for _ in range(spot_checks.PER_ADDRESS):
            assert spot_check_may_dial(session, 1, ["192.0.2.80", "2001:db8::80"], NOW) == ""
        assert "so often" in spot_check_may_dial(session, 1, ["203.0.113.5", "192.0.2.80"], NOW)
        assert "so often" in spot_check_may_dial(session, 1, ["2001:db8::ffff"], NOW)  # the same /64
        assert spot_check_may_dial(session, 1, ["203.0.113.5"], NOW) == ""
        assert spot_check_may_dial(session, 1, ["192.0.2.80"], NOW + spot_checks.WINDOW) == ""


def test_who_asked_not_to_be_scanned_is_not(sessions: Sessions) -> None:
    wish = OptedOut(frozenset({"quiet.example"}), (ip_network("192.0.2.0/24"),))
    for name in ("quiet.example", "www.quiet.example"):
        with pytest.raises(Refused, match=r"quiet\.example asked not to be scanned"):
            ask(sessions, name, opted_out=wish)
    assert ask(sessions, "notquiet.example", opted_out=wish)
    assert wish.address_refusal(["203.0.113.1", "::ffff:192.0.2.3"])
    assert not wish.address_refusal(["203.0.113.1", "2001:db8::1"])


@pytest.mark.slow
def test_so_many_may_wait(sessions: Sessions) -> None:
    for number in range(spot_checks.MOST_WAITING):
        ask(sessions, f"n{number}.example", at=f"10.{number}.0.1")
    with pytest.raises(Refused, match="waiting already"):
        ask(sessions, "more.example", at="10.200.0.1")


def test_a_question_is_answered_once_and_given_up_after_three_stops(sessions: Sessions) -> None:
    ask(sessions, "a.example")
    with sessions.writing() as session:
        [check_id] = spot_checks_waiting(session, NOW, 5)
        first = claim_spot_check(session, check_id, NOW)
        assert first is not None
        assert claim_spot_check(session, check_id, NOW) is None
        second = claim_spot_check(session, check_id, NOW + LEASE)
        assert second is not None
        assert not record_spot_check(session, check_id, first, answer={"sentence": "late"}, shown_at=NOW)
        assert spot_checks_waiting(session, NOW + LEASE, 5) == []
        assert claim_spot_check(session, check_id, NOW + 2 * LEASE) is not None
        assert claim_spot_check(session, check_id, NOW + 3 * LEASE) is None
        session.expire_all()
        row = session.get(SpotCheck, check_id)
        assert row is not None
        assert row.answer["sentence"].startswith("This check was stopped three times")
        assert spot_checks_waiting(session, NOW + 4 * LEASE, 5) == []
