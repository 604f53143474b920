"""What a scan costs here, whole: claim, resolve, dial, shake hands, judge, record. Prints ratios; nothing passes or fails.

    PYTHONPATH=. .venv/bin/python bench/scan.py [names]

One loopback server in a process of its own, one DNS server, one scanner. Five rounds, each: handshakes alone, then the whole of it on a
first scan (everything is new) and on a second (nothing changed). The client's CPU seconds are what is compared.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from multiprocessing.synchronize import Event
from pathlib import Path

import sqlalchemy as sa

from core.actions.claim_scans import claim_due
from core.actions.domains import add_domains
from core.net.names import Listed
from core.perspective import LOCAL
from core.scanner.facts import Target
from core.scanner.scan import Outlook, scan_all
from core.store import schema
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from demo.pki import Chain, make_chain
from jobs.context import Context
from jobs.scan import scan_batch
from tests.dnsserver import bind9
from tests.make import make_actor
from tests.servers import tls_server

ROUNDS = 5
ALLOW = (ip_network("127.0.0.0/8"),)


def serve(chain: Chain, port: multiprocessing.Queue[int], stop: Event) -> None:
    with tls_server(chain.pem, chain.key_pem) as server:
        port.put(server.port)
        stop.wait()


@contextmanager
def away(chain: Chain) -> Iterator[int]:
    """The server, in another process, so that its CPU is not counted as ours."""
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    stop = multiprocessing.Event()
    process = multiprocessing.Process(target=serve, args=(chain, ports, stop))
    process.start()
    yield ports.get(timeout=20)
    stop.set()
    process.join(20)


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of this process, and seconds on the wall."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - began


def main(names: int) -> None:
    chain = make_chain(["*.bench.test"])
    with tempfile.TemporaryDirectory() as folder, away(chain) as port, bind9({"bench.test": "* A 127.0.0.1"}) as resolver:
        roots = Path(folder) / "roots.pem"
        roots.write_bytes(chain.root.pem)
        sessions = Sessions(make_engine(f"sqlite:///{folder}/keychest.db"))
        schema.upgrade(sessions.engine)
        context = Context(
            sessions, lambda: datetime.now(UTC), Path(folder), "", ALLOW, ("mira@example.org",), str(roots), (resolver,), 28_800, 300, "", ""
        )  # fmt: skip
        with sessions.writing() as session:
            actor = make_actor(session, now=datetime.now(UTC))
        rounds: list[dict[str, tuple[float, float]]] = []
        for number in range(ROUNDS):
            listed = [Listed(f"r{number}-{each}.bench.test", port) for each in range(names)]
            told: dict[str, tuple[float, float]] = {"paste": measured(lambda listed=listed: paste(sessions, actor, listed))}  # type: ignore[misc]
            told["handshakes"] = measured(lambda listed=listed: asyncio.run(handshakes(listed, resolver)))  # type: ignore[misc]
            told["first scan"] = measured(lambda: scan(sessions, context, names))
            with sessions.writing() as session:
                session.execute(
                    sa.update(Schedule).where(Schedule.last_scanned_at > datetime.now(UTC) - timedelta(minutes=5)).values(urgent=False)
                )
                ids = list(session.scalars(sa.select(Schedule.endpoint_id).order_by(Schedule.endpoint_id.desc()).limit(names)))
                session.execute(sa.update(Schedule).where(Schedule.endpoint_id.in_(ids)).values(next_scan_at=datetime.now(UTC)))
            told["second scan"] = measured(lambda: scan(sessions, context, names))
            rounds.append(told)
            print(number + 1, {what: f"{cpu / names * 1e6:.0f} us CPU, {names / wall:.0f}/s" for what, (cpu, wall) in told.items()})
        for what in ("first scan", "second scan"):
            ratios = sorted(each[what][0] / each["handshakes"][0] for each in rounds)
            print(f"{what} / handshakes and DNS alone, CPU: median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        for what in rounds[0]:
            print(f"{what}: median {statistics.median(names / each[what][1] for each in rounds):.0f} names a second")


def paste(sessions: Sessions, actor: object, listed: list[Listed]) -> None:
    with sessions.writing() as session:
        add_domains(session, actor, listed=listed, private_ranges=True, now=datetime.now(UTC))  # type: ignore[arg-type]


async def handshakes(listed: list[Listed], resolver: str) -> None:
    targets = [(each, Target(each.name, each.port), ALLOW) for each in listed]
    async for _key, scan in scan_all(targets, Outlook(resolvers=(resolver,)), now=lambda: datetime.now(UTC)):
        if scan.observations[0].failure is not None:
            raise SystemExit(f"a handshake failed: {scan.observations[0].failure}")


def scan(sessions: Sessions, context: Context, names: int) -> None:
    with sessions.writing() as session:
        now = datetime.now(UTC)
        claims = [
            c
            for urgent in (True, False)
            for c in claim_due(session, perspective=LOCAL, urgent=urgent, most=names, lease=timedelta(minutes=9), now=now)
        ]
    scan_batch(context, *(number for claimed in claims for number in (claimed.endpoint_id, claimed.claim)))
    with sessions.reading() as session:
        left = session.scalar(sa.select(sa.func.count()).where(Schedule.lease_until.is_not(None)))
    if left or len(claims) != names:
        raise SystemExit(f"{left} of {len(claims)} are still in hand")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
