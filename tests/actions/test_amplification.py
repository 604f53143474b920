"""Using us against a host (threat D4): however many ask, however often and by whatever ways, it is dialled no more than its budget."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from sqlalchemy.orm import Session

from core.actions.budget import PORTS_PER_NAME, PORTS_PER_TARGET
from core.actions.claim_scans import anything_due
from core.actions.domains import add_domains, remove_watches, restore_watches
from core.actions.policy import Actor
from core.actions.watches import SCAN_NOW_EVERY, scan_now
from core.net.guard import Network
from core.net.names import Listed
from core.net.upgrades import PROTOCOLS
from core.perspective import LOCAL
from core.scanner.facts import OtherKey, Scan, Target
from core.scanner.path import Roots
from core.scanner.scan import Outlook, scan_target
from core.store.db import Sessions
from core.store.endpoints import Endpoint
from demo.pki import Chain, make_chain
from tests.dialled import dialled
from tests.dnsserver import stub_dns
from tests.make import NOW, make_actor, run_scans
from tests.servers import Server, tls_server

LOOPBACK: Final[tuple[Network, ...]] = (ipaddress.ip_network("127.0.0.0/8"),)
HOST: Final = "victim.test"
MINUTE_S: Final = 60
OFTEN: Final = 1_000
DIALS: Final = 2
"""Of a scan that asks for the other kind of key as well: that connection is sent away at once where there is none."""
PER_MINUTE: Final = 1 + MINUTE_S // int(SCAN_NOW_EVERY.total_seconds())
"""Handshakes of one endpoint within a minute: the first, and one for each time that may be asked for again."""


@dataclass
class World:
    """A database, a real host, and a worker that does at once whatever is due."""

    sessions: Sessions
    host: Server
    resolver: str
    roots: Roots
    dialled: list[tuple[str, int]] = field(default_factory=list)

    @property
    def listed(self) -> Listed:
        return Listed(HOST, self.host.port)

    def work(self, now: datetime) -> None:
        """Scan for real all that is due, until nothing is."""
        for _ in range(3):
            with self.sessions.reading() as session:
                if not anything_due(session, perspective=LOCAL, now=now):
                    return
            with self.sessions.writing() as session, dialled() as asked:
                run_scans(session, self._look(session, now), roots=self.roots, now=now)
            self.dialled += [(address, port) for what, address, port in asked if what == "connect"]

    def _look(self, session: Session, now: datetime) -> Callable[[int], Scan]:
        def look(endpoint_id: int) -> Scan:
            row = session.get_one(Endpoint, endpoint_id)
            target = Target(row.name, row.port, row.starttls, row.address, OtherKey.ASKED)
            return asyncio.run(scan_target(target, Outlook((self.resolver,)), allow=LOOPBACK, now=lambda: now))

        return look


@pytest.fixture(scope="module")
def chain() -> Chain:
    return make_chain([HOST], now=NOW)


@pytest.fixture
def world(sessions: Sessions, chain: Chain) -> Iterator[World]:
    def answer(request: DNSRecord) -> DNSRecord:
        record = request.reply()
        if request.q.qtype == QTYPE.A:
            record.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("127.0.0.1")))
        return record

    with tls_server(chain.pem, chain.key_pem) as host, stub_dns(answer) as stub:
        yield World(sessions, host, stub.resolver, Roots.of([chain.root.certificate]))


def accounts(sessions: Sessions, count: int) -> list[Actor]:
    with sessions.writing() as session:
        return [make_actor(session, f"u{number}@example.org") for number in range(count)]


def add(world: World, actor: Actor, listed: Sequence[Listed], now: datetime = NOW) -> list[str]:
    with world.sessions.writing() as session:
        return [added.outcome for added in add_domains(session, actor, listed=listed, private_ranges=False, now=now)]


def moments(count: int = OFTEN) -> Iterator[datetime]:
    """So many, all within one minute."""
    return (NOW + timedelta(seconds=MINUTE_S) * turn / count for turn in range(count))


@pytest.mark.slow
def test_a_thousand_adds_of_one_host_at_once_are_one_scan(world: World) -> None:
    for actor in accounts(world.sessions, 50):
        outcomes = add(world, actor, [world.listed] * (OFTEN // 50))
        assert set(outcomes) == {"added"}
        add(world, actor, [world.listed])
    world.work(NOW)
    assert world.dialled == [("127.0.0.1", world.host.port)] * DIALS
    assert world.host.connections == DIALS


@pytest.mark.slow
def test_a_host_that_many_accounts_add_one_after_the_other_is_dialled_no_more_often_than_it_may_be_asked_for(world: World) -> None:
    people = accounts(world.sessions, 100)
    for actor, now in zip(people, moments(100), strict=True):
        assert add(world, actor, [world.listed] * (OFTEN // 100), now) == ["added"] * (OFTEN // 100)
        world.work(now)
    assert 1 <= world.host.connections <= DIALS * PER_MINUTE


@pytest.mark.slow
def test_a_host_that_is_put_into_the_bin_and_brought_back_is_dialled_no_more_often_than_it_may_be_asked_for(world: World) -> None:
    (actor,) = accounts(world.sessions, 1)
    with world.sessions.writing() as session:
        (added,) = add_domains(session, actor, listed=[world.listed], private_ranges=False, now=NOW)
    for turn, now in enumerate(moments(120)):
        with world.sessions.writing() as session:
            if turn % 2:
                restore_watches(session, actor, refs=[added.ref], now=now)
            else:
                remove_watches(session, actor, refs=[added.ref], now=now)
        world.work(now)
    assert 1 <= world.host.connections <= DIALS * PER_MINUTE


WAYS: Final[dict[str, Callable[[int], Listed]]] = {
    "ports": lambda number: Listed(HOST, 20_000 + number),
    "fixed addresses": lambda number: Listed(HOST, 9, "", f"127.0.{number // 250}.{number % 250 + 1}"),
    "protocols": lambda number: Listed(HOST, 20_000 + number // len(PROTOCOLS), PROTOCOLS[number % len(PROTOCOLS)]),
    "all of them": lambda number: Listed(HOST, 20_000 + number, PROTOCOLS[number % len(PROTOCOLS)], f"127.0.0.{number % 250 + 1}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("ways", WAYS)
def test_a_host_is_not_dialled_in_a_thousand_ways(world: World, ways: str) -> None:
    """One account gets its budget, and all together get theirs, whichever way they vary what they ask for."""
    listed = [WAYS[ways](number) for number in range(OFTEN)]
    assert len(set(listed)) == OFTEN
    people = accounts(world.sessions, 5)
    outcomes = add(world, people[0], listed)
    assert (outcomes.count("added"), outcomes.count("refused")) == (PORTS_PER_NAME, OFTEN - PORTS_PER_NAME)
    for share, actor in enumerate(people[1:], 1):
        add(world, actor, listed[share::5])
    world.work(NOW)
    assert len(world.dialled) == PORTS_PER_TARGET


@pytest.mark.slow
def test_a_refused_way_stays_refused_when_it_is_asked_for_again_and_again(world: World) -> None:
    (actor,) = accounts(world.sessions, 1)
    for start in range(0, OFTEN, 100):
        add(world, actor, [WAYS["ports"](number) for number in range(start, start + 100)], NOW + timedelta(minutes=start))
        world.work(NOW + timedelta(minutes=start))
    assert len({port for _, port in world.dialled}) == PORTS_PER_NAME


@pytest.mark.slow
def test_scan_now_a_thousand_times_at_once_is_one_scan(world: World) -> None:
    """Pressed by several people at the same time, while nothing is done yet, and again when it is done."""
    people = accounts(world.sessions, 4)
    refs: list[str] = []
    with world.sessions.writing() as session:
        for actor in people:
            refs += [each.ref for each in add_domains(session, actor, listed=[world.listed], private_ranges=False, now=NOW)]
    world.work(NOW)
    later, outcomes = NOW + timedelta(minutes=1), list[str]()

    def press(actor: Actor, ref: str) -> None:
        for _ in range(OFTEN // len(people)):
            with world.sessions.writing() as session:
                outcomes.extend(each.outcome for each in scan_now(session, actor, refs=[ref], now=later))

    threads = [threading.Thread(target=press, args=pair) for pair in zip(people, refs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("asked") == 1
    assert outcomes.count("running") == OFTEN - 1
    world.work(later)
    world.work(later)
    assert world.host.connections == 2 * DIALS
    with world.sessions.writing() as session:
        (again,) = scan_now(session, people[0], refs=refs[:1], now=later + timedelta(seconds=1))
    assert again.outcome == "too_soon"


@pytest.mark.slow
def test_scan_now_a_thousand_times_in_a_minute_is_a_scan_each_time_it_may_be_asked_for(world: World) -> None:
    people = accounts(world.sessions, 10)
    refs: list[str] = []
    with world.sessions.writing() as session:
        for actor in people:
            refs += [each.ref for each in add_domains(session, actor, listed=[world.listed], private_ranges=False, now=NOW)]
    for turn, now in enumerate(moments()):
        with world.sessions.writing() as session:
            scan_now(session, people[turn % 10], refs=[refs[turn % 10]], now=now)
        world.work(now)
    assert world.host.connections in {DIALS * (PER_MINUTE - 1), DIALS * PER_MINUTE}
