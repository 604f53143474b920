"""Spot checks over real handshakes: port 8443 on loopback addresses of the test's own, names from a real bind9."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.spot_checks import PER_ADDRESS, Visitor, ask_spot_check, read_spot_target
from core.net.optout import OptedOut
from core.scanner.publicly import NOT_PUBLIC, UNREACHED
from core.store.db import Sessions
from core.store.endpoints import Endpoint
from core.store.spot_checks import SpotCheck, SpotDial, spot_checks_waiting
from demo.pki import make_chain
from jobs.context import Context
from jobs.spot_check import spot_checks
from tests.dnsserver import bind9
from tests.jobs.test_scan import LOOPBACK, make_context
from tests.servers import Server, tls_server

pytestmark = pytest.mark.xdist_group("spot checks")  # they dial ports of their list alone, so this one cannot be any that is free
GOOD, CLOSED = "127.81.7.1", "127.81.7.2"
ZONE = f"good A {GOOD}\nclosed A {CLOSED}\nmixed A {GOOD}\n A {CLOSED}\nalias CNAME good.kc.test."


@pytest.fixture(scope="module")
def good() -> Iterator[tuple[Server, bytes]]:
    chain = make_chain(["*.kc.test"])
    with tls_server(chain.pem, chain.key_pem, address=GOOD, port=8443) as server:
        yield server, chain.root.pem


@pytest.fixture(scope="module")
def resolver() -> Iterator[str]:
    with bind9({"kc.test": ZONE}) as address:
        yield address


@pytest.fixture
def context(sessions: Sessions, tmp_path: Path, resolver: str, good: tuple[Server, bytes]) -> Context:
    return replace(make_context(sessions, tmp_path, resolver, roots=good[1]), public_scan_allow=LOOPBACK)


def ask(context: Context, *names: str) -> None:
    with context.sessions.writing() as session:
        for number, name in enumerate(names):
            visitor = Visitor.at(f"192.0.{number % 250}.1", "k" * 32)
            ask_spot_check(session, listed=read_spot_target(f"{name}:8443"), visitor=visitor, opted_out=OptedOut(), now=datetime.now(UTC))


def answers(context: Context) -> dict[str, SpotCheck]:
    with context.sessions.reading() as session:
        waiting = spot_checks_waiting(session, datetime.now(UTC), 50)
    spot_checks(context, *waiting)
    with context.sessions.reading() as session:
        return {row.name: row for row in session.scalars(sa.select(SpotCheck))}


def test_good_and_closed_ones_are_answered_together(context: Context) -> None:
    ask(context, "good.kc.test", "closed.kc.test", "mixed.kc.test", "alias.kc.test", "none.kc.test")
    rows = answers(context)
    assert rows["good.kc.test"].answer["state"] == "ok"
    assert rows["good.kc.test"].shown_at is not None
    assert rows["good.kc.test"].shown_at <= datetime.now(UTC)
    assert rows["closed.kc.test"].answer["sentence"] == UNREACHED
    for slow in ("closed.kc.test", "mixed.kc.test"):
        shown_at, began_at = rows[slow].shown_at, rows[slow].began_at
        assert shown_at is not None
        assert began_at is not None
        assert 8.9 < (shown_at - began_at).total_seconds() < 10  # a port that refuses at once is told as late as one that is silent
    assert rows["mixed.kc.test"].answer["state"] == "soon"
    assert rows["alias.kc.test"].answer["cname_chain"] == ["good.kc.test"]
    assert "NXDOMAIN" in rows["none.kc.test"].answer["sentence"]
    with context.sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Endpoint)) == 0
        assert set(session.scalars(sa.select(SpotDial.address))) == {GOOD, CLOSED}


@pytest.mark.slow
def test_private_ranges_stay_closed_though_accounts_may_dial_them(context: Context, good: tuple[Server, bytes]) -> None:
    before = good[0].connections
    ask(context, "good.kc.test")
    rows = answers(replace(context, public_scan_allow=()))
    assert rows["good.kc.test"].answer["sentence"] == NOT_PUBLIC
    assert GOOD not in repr(rows["good.kc.test"].answer)
    assert good[0].connections == before


@pytest.mark.slow
def test_many_names_of_one_address_are_let_rest(context: Context, good: tuple[Server, bytes], resolver: str) -> None:
    before = good[0].connections
    names = [f"n{number}.many.test" for number in range(PER_ADDRESS + 5)]
    with bind9({"many.test": f"* A {GOOD}"}) as other:
        ask(context, *names)
        rows = answers(replace(context, resolvers=(other,)))
    assert good[0].connections - before == 2 * PER_ADDRESS  # each is asked for its other kind of key as well
    assert sum("so often" in row.answer["sentence"] for row in rows.values()) == 5


def test_what_asked_not_to_be_scanned_is_not_dialled_by_whatever_name(context: Context, good: tuple[Server, bytes]) -> None:
    before = good[0].connections
    ask(context, "alias.kc.test")
    rows = answers(replace(context, opted_out=OptedOut(frozenset({"good.kc.test"}))))
    assert "good.kc.test asked not to be scanned" in rows["alias.kc.test"].answer["sentence"]
    assert good[0].connections == before


def test_nobody_listens_where_the_closed_one_is() -> None:
    with socket.socket() as probe:
        assert probe.connect_ex((CLOSED, 8443)) != 0
