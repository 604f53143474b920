"""One client of the scan's benchmark, a process of its own as a worker's horse is. Takes its orders as JSON, says "ready", begins at a line.

Orders: what ("dns", "look" or "whole"), url, resolver, roots, folder, core, in_flight, port, names (for "dns" and "look"), batch (what is claimed at
a time; the clock's own size where it is not given), shared (other clients work on the same database).
Prints one line of JSON: targets, good (those that a certificate was seen of), wall_s, cpu_s, rss_mb, and for "whole" the seconds of CPU by stage.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import sqlalchemy as sa

import jobs.scan
from core.actions.claim_scans import claim_due
from core.backups.plan import Plan
from core.net.resolve import open_resolver, resolve
from core.perspective import LOCAL
from core.scanner.facts import Target
from core.scanner.scan import Outlook, scan_all
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from core.store.observations import Current, Observation
from jobs.clock import SCAN_BATCH
from jobs.context import Context
from jobs.worker import keep_what_is_imported

ALLOW: Final = (ip_network("127.0.0.0/8"),)
LEASE: Final = timedelta(minutes=9)
P = ParamSpec("P")
R = TypeVar("R")
Told = dict[str, float]


def now() -> datetime:
    return datetime.now(UTC)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(stages: Told, stage: str, work: Callable[P, R]) -> Callable[P, R]:
    """The same work, whose CPU in its own thread is added to the stage."""

    @functools.wraps(work)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        began = time.thread_time()
        try:
            return work(*args, **kwargs)
        finally:
            stages[stage] = stages.get(stage, 0.0) + time.thread_time() - began

    return measured


async def ask_all(names: Iterable[str], orders: Mapping[str, Any]) -> int:
    """Look every name up, as many at a time as are looked at at a time; how many have an address."""
    left, found = iter(names), 0
    async with open_resolver((orders["resolver"],)) as dns:

        async def take_turns() -> None:
            nonlocal found
            for name in left:
                resolution = await resolve(name, dns)
                found += bool(resolution.addresses)

        await asyncio.gather(*(take_turns() for _ in range(orders["in_flight"])))
    return found


async def look_at_all(names: Iterable[str], orders: Mapping[str, Any]) -> int:
    targets = [(name, Target(name, orders["port"]), ALLOW) for name in names]
    scans = scan_all(targets, Outlook(resolvers=(orders["resolver"],)), now=now, in_flight=orders["in_flight"])
    return sum([bool(scan.observations[0].chain) async for _name, scan in scans])


def work_off(context: Context, stages: Told, in_flight: int, most: int) -> int:
    """Claim and scan, batch by batch, until nothing is due; how many were claimed. What the product calls is called, only timed."""
    jobs.scan._judged = timed(stages, "parse, judge", jobs.scan._judged)  # noqa: SLF001
    jobs.scan._record_together = timed(stages, "store", jobs.scan._record_together)  # noqa: SLF001
    jobs.scan._read = timed(stages, "read the batch", jobs.scan._read)  # noqa: SLF001
    jobs.scan.scan_all = functools.partial(scan_all, in_flight=in_flight)  # type: ignore[attr-defined]  # 200 in the product
    take = timed(stages, "claim", claim)
    scanned = 0
    while pairs := take(context.sessions, most):
        jobs.scan.scan_batch(context, *pairs)
        scanned += len(pairs) // 2
    return scanned


def claim(sessions: Sessions, most: int) -> list[int]:
    with sessions.writing() as session:
        claims = claim_due(session, perspective=LOCAL, urgent=False, most=most, lease=LEASE, now=now())
    return [number for claimed in claims for number in (claimed.endpoint_id, claimed.claim)]


def seen_good(sessions: Sessions) -> int:
    """How many endpoints show a certificate now; raises SystemExit where some are still in hand, since then the measure is void."""
    with sessions.reading() as session:
        if left := session.scalar(sa.select(sa.func.count()).where(Schedule.lease_until.is_not(None))):
            raise SystemExit(f"{left} are still in hand")
        shown = sa.select(sa.func.count()).select_from(Current).join(Observation, Observation.id == Current.observation_id)
        return session.scalar(shown.where(Observation.leaf_sha256.is_not(None))) or 0


def make_context(sessions: Sessions, orders: Mapping[str, Any]) -> Context:
    folder = Path(orders["folder"])
    return Context(
        sessions=sessions, now=now, data=folder, public_url="", scan_allow=ALLOW, scan_allow_accounts=("mira@example.org",),
        extra_roots=orders["roots"], resolvers=(orders["resolver"],), scan_interval_s=28_800, scan_lease_s=300, smtp_url="", mail_from="",
        plan=Plan(folder, production=False, database_url="sqlite://"),
    )  # fmt: skip


def main(orders: Mapping[str, Any]) -> None:
    os.sched_setaffinity(0, {orders["core"]})
    sessions, stages = Sessions(make_engine(orders["url"])), Told()
    context = make_context(sessions, orders)
    keep_what_is_imported()
    print("ready", flush=True)
    sys.stdin.readline()
    before, began = cpu_s(), time.perf_counter()
    if orders["what"] == "whole":
        targets = work_off(context, stages, orders["in_flight"], orders.get("batch") or max(SCAN_BATCH, orders["in_flight"]))
    else:
        work = ask_all if orders["what"] == "dns" else look_at_all
        targets = good = asyncio.run(work(orders["names"], orders))
    told = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - before}
    told["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if orders["what"] == "whole" and not orders.get("shared"):
        good = seen_good(sessions)
    elif orders["what"] == "whole":
        good = targets
    print(json.dumps({**told, "targets": targets, "good": good, "stages": stages}), flush=True)
    sessions.engine.dispose()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
