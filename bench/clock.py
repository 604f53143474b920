"""What it costs to claim 1,000 due endpoints of many, on PostgreSQL. Prints figures; nothing passes or fails.

    ./keychest bench clock [rows ...] [setting=value ...]    # 1000000 10000000 when no rows are given
    ./keychest bench clock 400000 1000000                    # a quick look; fewer have too few due

One server of its own on loopback, with fsync and commits as an installation has them, 2 GB of shared buffers (or what is given, like
shared_buffers=128MB) and every other setting PostgreSQL's own; a database for each number of rows. A fifth of the rows is due, as after an
outage of an hour and a half, in an order that has nothing to do with their place on disk. All claims are `claim_due`, each timed from the
opening of its transaction to the end of its commit; what a claim took is planned ahead again outside the timing, as the record of a scan
would. The sizes take turns, round by round.
Goals: at most 25 ms, and flat: neither with the number of rows, nor after 200 claims that were given back.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.actions.claim_scans import Claimed, anything_due, claim_due, release_claims
from core.actions.heartbeats import beat
from core.perspective import LOCAL
from core.store.db import Sessions, make_engine
from tests.postgres import Postgres, folder_of_its_own, programs, running_postgres

SIZES = (1_000_000, 10_000_000)
ROUNDS, AT_ONCE, GIVEN_BACK, MOST = 15, 20, 200, 1_000
GOAL_MS = 25
LEASE = timedelta(minutes=5)
SETTINGS = ("fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=2GB")
FILL = (
    "SET LOCAL session_replication_role = replica",  # millions of rows that are known to fit are not checked one by one
    """INSERT INTO endpoints (id, name, port, starttls, address, scope, created_at)
       SELECT n, 'host' || n || '.example.org', 443, '', '', '', now() FROM generate_series(1, :rows) n""",
    """INSERT INTO schedule (endpoint_id, perspective, next_scan_at, urgent, claim, watchers, failures, scans)
       SELECT n, :perspective, now() - interval '96 minutes' + random() * interval '8 hours', false, 0, 1, 0, 0
       FROM generate_series(1, :rows) n""",
)
AHEAD = "UPDATE schedule SET lease_until = NULL, next_scan_at = now() + interval '8 hours' WHERE endpoint_id = ANY(:ids)"


@dataclass(slots=True)
class Yard:
    """One database of `rows` endpoints, and the milliseconds of each kind of claim."""

    rows: int
    sessions: Sessions
    took: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, what: str, work: Callable[[], list[Claimed]]) -> list[Claimed]:
        """Do the work, and keep how long it took."""
        began = time.perf_counter()
        claims = work()
        self.took.setdefault(what, []).append((time.perf_counter() - began) * 1e3)
        return claims


def main(arguments: Sequence[str]) -> None:
    sizes = [int(word) for word in arguments if "=" not in word] or SIZES
    settings = (*SETTINGS, *(word for word in arguments if "=" in word))
    if programs() is None:
        raise SystemExit("PostgreSQL is not installed, and nothing else is measured here. apt-get install postgresql, and run this again.")
    with folder_of_its_own() as folder, running_postgres(folder / "server", settings=settings) as server, ExitStack() as stack:
        yards = [fill(server, rows) for rows in sizes]
        for yard in yards:
            stack.callback(yard.sessions.engine.dispose)
        for _ in range(ROUNDS):
            for yard in yards:
                one_round(yard)
        for yard in yards:
            print(f"{yard.rows:,} rows: {in_hand_twice(yard)} endpoints in two hands, of {2 * AT_ONCE * MOST:,} claimed by two at once")
        for yard in yards:
            give_back(yard)
        for _ in range(ROUNDS):
            for yard in yards:
                one_after(yard)
        tell(yards)


def fill(server: Postgres, rows: int) -> Yard:
    began = time.perf_counter()
    engine = make_engine(server.database())
    with engine.begin() as connection:
        for statement in FILL:
            connection.execute(sa.text(statement), {"rows": rows, "perspective": LOCAL})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in ("VACUUM ANALYZE endpoints", "VACUUM ANALYZE schedule", "CHECKPOINT"):
            connection.exec_driver_sql(statement)
        table, index = connection.execute(sa.text("SELECT pg_table_size('schedule'), pg_relation_size('ix_schedule_due')")).one()
    took = time.perf_counter() - began
    print(f"{rows:,} rows: schedule {table / 1e6:.0f} MB, its index of what is due {index / 1e6:.0f} MB; filled in {took:.0f} s")
    return Yard(rows, Sessions(engine))


def one_round(yard: Yard) -> None:
    """What the clock does at a look: a sign of life, is anything due, anything urgent (nothing is), and then a batch."""
    yard.timed("a heartbeat, one row", lambda: touch(yard))
    yard.timed("is anything due", lambda: asked(yard))
    yard.timed("urgent, of which there is none", lambda: claim(yard, urgent=True))
    plan_ahead(yard, yard.timed(f"claim {MOST:,}", lambda: claim(yard, urgent=False)))


def one_after(yard: Yard) -> None:
    """The thousand that was claimed and given back so often, once more: nothing planned ahead has left the dead rows behind."""
    claims = yard.timed(f"after {GIVEN_BACK} given back", lambda: claim(yard, urgent=False))
    with yard.sessions.writing() as session:
        release_claims(session, perspective=LOCAL, claims=claims)


def touch(yard: Yard) -> list[Claimed]:
    """What a commit costs on this disk by itself."""
    with yard.sessions.writing() as session:
        beat(session, "clock", pid=1, now=datetime.now(UTC))
    return []


def asked(yard: Yard) -> list[Claimed]:
    with yard.sessions.reading() as session:
        if not anything_due(session, perspective=LOCAL, now=datetime.now(UTC)):
            raise SystemExit("nothing is due: the measure is void")
    return []


def claim(yard: Yard, *, urgent: bool) -> list[Claimed]:
    with yard.sessions.writing() as session:
        claims = claim_due(session, perspective=LOCAL, urgent=urgent, most=MOST, lease=LEASE, now=datetime.now(UTC))
    if len(claims) != (0 if urgent else MOST):
        raise SystemExit(f"{len(claims)} were claimed: the measure is void")
    return claims


def plan_ahead(yard: Yard, claims: Sequence[Claimed]) -> None:
    with yard.sessions.writing() as session:
        session.execute(sa.text(AHEAD), {"ids": [claimed.endpoint_id for claimed in claims]})


def in_hand_twice(yard: Yard) -> int:
    """How many endpoints two claimers got that claim at the same time, as fast as they can. 0, or the lease is no lease."""
    hands: list[list[int]] = [[], []]
    begin = threading.Barrier(2)

    def take(hand: list[int]) -> None:
        begin.wait()
        for _ in range(AT_ONCE):
            hand += [claimed.endpoint_id for claimed in yard.timed("two at once", lambda: claim(yard, urgent=False))]

    claimers = [threading.Thread(target=take, args=(hand,)) for hand in hands]
    for claimer in claimers:
        claimer.start()
    for claimer in claimers:
        claimer.join()
    taken = [*hands[0], *hands[1]]
    plan_ahead(yard, [Claimed(endpoint_id, 0) for endpoint_id in taken])
    return len(taken) - len(set(taken))


def give_back(yard: Yard) -> None:
    """The same thousand claimed and given back again and again: every time leaves dead rows where the next claim begins to read."""
    for _ in range(GIVEN_BACK):
        claims = claim(yard, urgent=False)
        with yard.sessions.writing() as session:
            release_claims(session, perspective=LOCAL, claims=claims)


def tell(yards: Sequence[Yard]) -> None:
    for yard in yards:
        for what, took in yard.took.items():
            print(f"{yard.rows:,} rows, {what}: median {statistics.median(took):.1f} ms, at most {max(took):.1f} ms, {len(took)} times")
    small, large = min(yards, key=lambda yard: yard.rows), max(yards, key=lambda yard: yard.rows)
    plain, after = f"claim {MOST:,}", f"after {GIVEN_BACK} given back"
    print(f"goal: {plain} within {GOAL_MS} ms; the median at {large.rows:,} rows is {statistics.median(large.took[plain]):.1f} ms")
    print(f"flat over rows, {large.rows:,} / {small.rows:,}: {ratio(large.took[plain], small.took[plain])}")
    for yard in yards:
        print(f"flat over dead rows, {yard.rows:,} rows, {after} / fresh: {ratio(yard.took[after], yard.took[plain])}")


def ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """Of two that took turns: the median of the rounds' ratios, with the least and the greatest."""
    ratios = sorted(each / other for each, other in zip(over, under, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


if __name__ == "__main__":
    main(sys.argv[1:])
