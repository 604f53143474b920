"""Servers that mean ill (threats D3, D7, D10): in one batch with ordinary ones, each ends typed within its time, bytes and memory."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import pytest
from OpenSSL import SSL

from core.net.dial import Stream, open_stream
from core.scanner.facts import Failure, FailureKind, Observation, Target
from core.scanner.handshake import Budget, Served, shake_hands
from core.scanner.scan import Outlook, scan_all
from core.scanner.starttls import PROTOCOLS, upgrade
from tests.conftest import ROOT
from tests.core.scanner.hostile_servers import CASES, CHAIN, FLOODS, NAME, SECRET, crowded
from tests.hostile_tls import Hello, after_hello
from tests.intime import TRIES, in_time
from tests.servers import Server, raw_server, silent, tls_server
from tests.starttls_servers import SCRIPTS, play

LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"),)
SHORT: Final = Budget(total_s=2.4, connect_s=1.6, upgrade_s=1.6, handshake_s=1.6)
LATE_S: Final = 1.0
"""What a machine with other work to do may add."""
ORDINARY: Final = 8


@dataclass(frozen=True)
class Ended:
    """What came of one scan, how long after the batch began, and as which one."""

    seen: Observation
    after_s: float
    place: int


async def look(targets: Sequence[tuple[str, Target]], budget: Budget, in_flight: int = 200) -> dict[str, Ended]:
    began, ended = time.perf_counter(), dict[str, Ended]()
    wanted = [(name, target, LOOPBACK) for name, target in targets]
    async for name, scan in scan_all(wanted, Outlook(budget=budget), now=lambda: datetime.now(UTC), in_flight=in_flight):
        (seen,) = scan.observations
        ended[name] = Ended(seen, time.perf_counter() - began, len(ended))
    return ended


def target(server: Server, starttls: str = "") -> Target:
    return Target(NAME, server.port, starttls, server.address)


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, Ended]]:
    """All of them in one batch, ordinary ones in between."""
    crowded()
    with contextlib.ExitStack() as stack:
        targets = [(name, target(stack.enter_context(raw_server(ill.behave)), ill.starttls)) for name, ill in CASES.items()]
        for number in range(ORDINARY):
            version = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)[number % 2]
            server = stack.enter_context(tls_server(CHAIN.pem, CHAIN.key_pem, maximum=version))
            targets.insert(number * 6 + 5, (f"ordinary {number}", target(server)))
        for _ in range(TRIES):  # a machine with other work may be late; what is late by itself is so each time
            ended = asyncio.run(look(targets, SHORT))
            if all(one.after_s < SHORT.total_s + LATE_S for one in ended.values()):
                break
        yield ended


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_ill_meaning_server_ends_typed_and_in_time(ended: dict[str, Ended], name: str) -> None:
    ill, one = CASES[name], ended[name]
    assert one.after_s < SHORT.total_s + LATE_S
    if ill.kind is None:
        assert one.seen.failure is None
        assert one.seen.chain == CHAIN.ders
        return
    failure = one.seen.failure
    assert failure is not None
    assert (failure.kind, ill.stage and failure.stage) == (ill.kind, ill.stage), failure
    assert ill.says in failure.message
    assert failure.message.endswith((".", ")"))
    assert SECRET.decode() not in failure.message
    assert one.seen.chain == ()


@pytest.mark.slow
def test_ordinary_servers_are_seen_meanwhile_and_wait_for_none_of_them(ended: dict[str, Ended]) -> None:
    ordinary = [one for name, one in ended.items() if name.startswith("ordinary")]
    slow = [one for one in ended.values() if one.seen.failure and one.seen.failure.kind is FailureKind.TIMEOUT]
    assert len(ordinary) == ORDINARY
    assert [one.seen.chain for one in ordinary] == [CHAIN.ders] * ORDINARY
    assert len(slow) == sum(1 for ill in CASES.values() if ill.kind is FailureKind.TIMEOUT)
    assert max(one.place for one in ordinary) < min(one.place for one in slow)


@pytest.mark.slow
def test_a_batch_waits_for_slow_ones_no_longer_than_their_budgets() -> None:
    """Two turns, four that are silent: the ordinary one behind them begins when the second pair has ended."""
    with raw_server(silent) as slow, tls_server(CHAIN.pem, CHAIN.key_pem) as good:
        targets = [(f"slow {number}", target(slow)) for number in range(4)]
        budget = replace(SHORT, handshake_s=0.4)
        whole = [*targets, ("good", target(good))]
        ended = in_time(lambda: asyncio.run(look(whole, budget, in_flight=2)), 2 * budget.handshake_s + LATE_S)
    assert ended["good"].seen.chain == CHAIN.ders
    assert ended["good"].after_s >= 2 * budget.handshake_s


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, ill in FLOODS.items() if not ill.starttls])
def test_no_more_is_read_than_the_budget_says(name: str) -> None:
    budget = Budget(handshake_s=10.0)

    async def read(server: Server) -> int:
        stream = await open_stream(server.address, server.port, 5.0, LOOPBACK)
        assert isinstance(stream, Stream)
        with stream:
            got = await shake_hands(stream, NAME, budget, timeout_s=budget.handshake_s, alpn=())
            assert isinstance(got, Served) or got.kind is FLOODS[name].kind
            return stream.received_bytes

    crowded()
    with raw_server(FLOODS[name].behave) as server:
        assert asyncio.run(read(server)) <= budget.read_bytes + 16_384


def test_nothing_is_offered_that_could_be_used_against_us() -> None:
    """Certificates are not compressed (RFC 8879), no ticket is taken, nothing is sent early, no certificate of ours is promised."""
    hellos: list[Hello] = []
    with raw_server(after_hello(lambda hello: hellos.append(hello) or [])) as server:  # type: ignore[func-returns-value]
        asyncio.run(look([("one", target(server))], Budget(handshake_s=0.2)))
    offered = hellos[0].extensions.keys()
    assert 51 in offered
    assert not offered & {27, 35, 41, 42, 49}


HELD: Final = ("16 MB of chain", "a chain of 90 KB, and no more of it in pieces of a byte", "10,000 names", "HelloRequests without end")


def weigh(ports: Sequence[int]) -> int:
    """By how many bytes a process grows that scans all of these, many at a time and over and over."""
    targets = [(f"{port} {turn}", Target(NAME, port, "", "127.0.0.1")) for turn in range(50) for port in ports]
    patient = Budget(total_s=240, connect_s=60, handshake_s=200)  # it is bytes that are weighed: a busy machine may take its time
    asyncio.run(look(targets[: 10 * len(ports)], patient))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = asyncio.run(look(targets, patient))
    kinds = {one.seen.failure and one.seen.failure.kind for one in ended.values()}
    assert kinds == {FailureKind.CERTIFICATE_TOO_LARGE}, kinds
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.slow
def test_what_is_sent_is_not_held() -> None:
    """Hundreds of floods, of which many say that they are 16 MB and the others go on to our cap, in a process of their own."""
    crowded()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(raw_server(FLOODS[name].behave)).port for name in HELD]
        program = f"from tests.core.scanner.test_hostile_tls import weigh; print(weigh({ports}))"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 12 * 1024 * 1024


@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if not each.startswith("xmpp")])
def test_what_is_said_before_tls_has_nothing_of_the_name_in_it(protocol: str) -> None:
    """D10: whatever stood in a name, it cannot become a command. XMPP alone says the name, and checks it: see test_starttls."""
    plain, evil = heard_before_tls(protocol, NAME), heard_before_tls(protocol, "a\r\nMAIL FROM:<x@evil.example>\r\n")
    assert plain == evil
    assert plain
    assert b"evil" not in plain
    assert NAME.encode() not in plain


def heard_before_tls(protocol: str, name: str) -> bytes:
    """What a server hears that goes along with everything, up to where TLS would begin."""
    heard: list[bytes] = []

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        play(Recorded(connection, heard), SCRIPTS[protocol])  # type: ignore[arg-type]  # as much of a socket as a script uses
        while part := connection.recv(4096):
            heard.append(part)

    async def upgraded(server: Server) -> Failure | None:
        stream = await open_stream(server.address, server.port, 5.0, LOOPBACK)
        assert isinstance(stream, Stream)
        with stream:
            return await upgrade(stream, protocol, name)

    with raw_server(behave) as server:
        assert asyncio.run(upgraded(server)) is None
    return b"".join(heard)


class Recorded:
    """A socket whose incoming bytes are kept."""

    def __init__(self, connection: socket.socket, heard: list[bytes]) -> None:
        self.sendall, self.settimeout = connection.sendall, connection.settimeout
        self._recv, self._heard = connection.recv, heard

    def recv(self, count: int) -> bytes:
        self._heard.append(part := self._recv(count))
        return part
