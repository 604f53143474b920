"""A scan that ran out of time while we ourselves stood still is made again; one whose server is at fault is not."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from datetime import UTC, datetime

import pytest
from OpenSSL import SSL

from core.scanner import asleep
from core.scanner.facts import Observation, Target
from core.scanner.handshake import Budget
from core.scanner.scan import Outlook, scan_all
from demo.pki import make_chain
from tests.servers import Behaviour, _server_context, raw_server

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
CHAIN = make_chain(["a.example"])


def silent_at_first() -> Behaviour:
    context, came = _server_context(CHAIN.pem, CHAIN.key_pem, b"ALL"), iter(range(99))

    def behave(connection: socket.socket, ended: threading.Event) -> None:
        if next(came) == 0:
            ended.wait()
            return
        connection.settimeout(None)
        tls = SSL.Connection(context, connection)
        tls.set_accept_state()
        tls.do_handshake()
        ended.wait()

    return behave


async def look(port: int, *, stand_still_s: float) -> Observation:
    asyncio.get_running_loop().call_later(0.1, time.sleep, stand_still_s)
    target = Target("a.example", port, "", "127.0.0.1")
    outlook = Outlook(budget=Budget(handshake_s=0.3))
    ((seen,),) = [scan.observations async for _, scan in scan_all([(1, target, LOOPBACK)], outlook, now=lambda: datetime.now(UTC))]
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("stand_still_s", "answered", "dialled"), [(0.5, True, 2), (0.0, False, 1)])
def test_only_what_we_slept_through_is_scanned_again(
    monkeypatch: pytest.MonkeyPatch, stand_still_s: float, dialled: int, *, answered: bool
) -> None:
    monkeypatch.setattr(asleep, "_LOOK_S", 0.02)
    monkeypatch.setattr(asleep, "MOST_LATE_S", 0.25)
    with raw_server(silent_at_first()) as server:
        seen = asyncio.run(look(server.port, stand_still_s=stand_still_s))
        assert (seen.failure is None) is answered
        assert server.connections == dialled
