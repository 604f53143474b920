"""Many names of one machine: it is not dialled by all at once, and those that wait for it hold up nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Final

import pytest

from core.scanner.facts import Scan, Stage, Target
from core.scanner.handshake import Budget
from core.scanner.scan import Outlook, scan_all
from core.scanner.turns import AT_ONE_SERVER, Turns
from demo.pki import make_chain
from tests.servers import raw_server, tls_server

MANY: Final = 2 * AT_ONE_SERVER + 10
BUDGET: Final = Budget(total_s=1.0, handshake_s=0.8)


class Crowd:
    """How many are connected at once, and at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.here = self.most = 0

    def behave(self, connection: socket.socket, _ended: threading.Event) -> None:
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
        try:
            while connection.recv(4096):
                pass
        finally:
            with self.lock:
                self.here -= 1


def look(targets: list[Target], in_flight: int = 200) -> list[Scan]:
    """The scans in the order in which they ended."""

    async def run() -> list[Scan]:
        wanted = [(number, target, (ip_network("127.0.0.0/8"),)) for number, target in enumerate(targets)]
        outlook = Outlook(budget=BUDGET)
        return [scan async for _, scan in scan_all(wanted, outlook, now=lambda: datetime.now(UTC), in_flight=in_flight)]

    return asyncio.run(run())


@pytest.mark.slow
def test_one_server_is_dialled_by_few_at_once_and_each_has_its_whole_budget_then() -> None:
    crowd = Crowd()
    with raw_server(crowd.behave) as silent:
        scans = look([Target(f"n{number}.test", silent.port, address="127.0.0.1") for number in range(MANY)])
        assert silent.connections == MANY
    assert AT_ONE_SERVER // 2 < crowd.most <= AT_ONE_SERVER + 10  # a server sees who comes before it sees who left
    assert [scan.observations[0].failure.stage for scan in scans if scan.observations[0].failure] == [Stage.HANDSHAKE] * MANY


@pytest.mark.slow
def test_those_who_wait_hold_up_no_other_server() -> None:
    chain = make_chain(["good.test"])
    with raw_server(Crowd().behave) as silent, tls_server(chain.pem, chain.key_pem) as good:
        targets = [Target(f"n{number}.test", silent.port, address="127.0.0.1") for number in range(MANY)]
        scans = look([*targets, Target("good.test", good.port, address="127.0.0.1")], in_flight=AT_ONE_SERVER + 1)
    assert [scan.target.name for scan in scans if scan.observations[0].chain] == ["good.test"]
    assert scans[0].target.name == "good.test"


def test_no_place_is_lost_by_who_gives_up_waiting() -> None:
    async def run() -> None:
        turns = Turns(1)

        async def want() -> None:
            async with turns.place(), turns.at(["192.0.2.1"], 443):
                await asyncio.sleep(0)

        holders = [turns.at(["192.0.2.1"], 443) for _ in range(AT_ONE_SERVER)]
        for holder in holders:
            assert await holder.__aenter__() < 0.5
        waiting = asyncio.create_task(want())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for holder in holders:
            await holder.__aexit__(None, None, None)
        for _ in range(2):
            await asyncio.wait_for(want(), 1)
        await asyncio.wait_for(asyncio.gather(want(), want()), 1)
        async with turns.place():
            second = asyncio.create_task(turns.place().__aenter__())
            await asyncio.sleep(0.01)
            assert not second.done()
        await asyncio.wait_for(second, 1)

    asyncio.run(run())
