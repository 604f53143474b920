"""What a scan costs here, whole: claim, DNS, TLS, parse, judge, store, beside native handshakes alone. Prints figures; nothing passes or fails.

    ./keychest bench scan [names] [rounds]                       # 2000 5 when nothing is given; 5 rounds are the least that count
    ./keychest bench scan 300 1                                  # a quick look

Clients on core 0; servers, DNS and PostgreSQL on core 1; with two workers both share both cores. Every name has a certificate of its
own. In each round, one after the other: the anchor (bench/anchor.c), names looked up alone, DNS and TLS alone, then claim_due and
scan_batch on either database: the first scan (nothing is known) and a second in a new process (the database knows every certificate,
the process none, as with every job of a forking worker). Compared is the CPU of the client's processes: not that of servers and database.
Then once each: two workers, the mix (30 % speak TLS 1.2 at most, 5 % are dead), memory with 1,000 and 5,000 handshakes begun and unended.
Goals: second scan >= 0.9 x the anchor per CPU second; first >= 0.7 x the second; <= 400 MB with 5,000 in flight.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.stand import Stand, standing
from core.actions.domains import add_domains
from core.net.names import Listed
from core.store import schema
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from tests.make import make_actor
from tests.postgres import Postgres, folder_of_its_own, programs, running_postgres

NAMES, ROUNDS, IN_FLIGHT, LISTED_AT_ONCE = 2_000, 5, 200, 500
CLIENT, SERVERS = 0, 1
SETTINGS = ("fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=512MB")
Told = Mapping[str, Any]
Fresh = Callable[[str], str]
"""Makes a database with all names of a kind listed and due, never scanned; gives its URL."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The stand, how many names, and the databases by the name of their engine."""

    stand: Stand
    names: int
    fresh: Mapping[str, Fresh]
    rounds: list[dict[str, Told]] = field(default_factory=list)


def main(arguments: Sequence[str]) -> None:
    names, rounds = [*map(int, arguments), *(NAMES, ROUNDS)[len(arguments) :]]
    os.sched_setaffinity(0, {SERVERS})  # all that is started here inherits it; the clients choose for themselves
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder), names) as stand, databases(stand, names) as fresh:
        bench = Bench(stand, names, fresh)
        print(f"{names} names, {rounds} rounds, {IN_FLIGHT} in flight, servers: {'native (server.c)' if stand.native else 'Python'}")
        if not stand.native:
            print("no C compiler with OpenSSL's headers (apt-get install gcc libssl-dev): no anchor, and one certificate for all names")
        for number in range(rounds):
            bench.rounds.append(one_round(bench))
            print(number + 1, {what: f"{us(each):.0f} us" for what, each in bench.rounds[-1].items()}, flush=True)
        tell(bench)
        two_workers(bench)
    mixed(names)
    for held in (1_000, 5_000):
        memory(held)


@contextmanager
def databases(stand: Stand, names: int) -> Iterator[Mapping[str, Fresh]]:
    made = iter(range(1_000_000))

    def sqlite(kind: str) -> str:
        template = stand.folder / f"template-{kind}.db"
        if not template.exists():
            list_names(f"sqlite:///{template}", stand, kind, names)
        copy = stand.folder / f"{next(made)}.db"
        shutil.copy(template, copy)
        return f"sqlite:///{copy}"

    if programs() is None:
        print("PostgreSQL is not installed (apt-get install postgresql): SQLite alone")
        yield {"SQLite": sqlite}
        return
    with folder_of_its_own() as folder, running_postgres(folder / "server", settings=SETTINGS) as server:
        yield {"SQLite": sqlite, "PostgreSQL": postgresql(server, stand, names)}


def postgresql(server: Postgres, stand: Stand, names: int) -> Fresh:
    templates: dict[str, str] = {}

    def fresh(kind: str) -> str:
        if kind not in templates:
            url = server.database()
            list_names(url, stand, kind, names)
            templates[kind] = url.rpartition("/")[2]
        return server.empty(templates[kind])

    return fresh


def list_names(url: str, stand: Stand, kind: str, names: int) -> None:
    """Names of a kind, or the "mix", listed as a person lists them, and due as at any other time."""
    engine = make_engine(url)
    schema.upgrade(engine)
    sessions, now = Sessions(engine), datetime.now(UTC)
    listed = [Listed(stand.name(kind_of(number) if kind == "mix" else kind, number), stand.port) for number in range(names)]
    with sessions.writing() as session:
        actor = make_actor(session, now=now)
    for start in range(0, names, LISTED_AT_ONCE):
        with sessions.writing() as session:
            add_domains(session, actor, listed=listed[start : start + LISTED_AT_ONCE], private_ranges=True, now=now)
    make_due(sessions)
    if url.startswith("sqlite"):
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def kind_of(number: int) -> str:
    """Of twenty, one is dead and six speak TLS 1.2 at most."""
    place = number % 20
    return "d" if place == 0 else "o" if place <= 6 else "h"  # noqa: PLR2004 - the shares of the mix


def make_due(sessions: Sessions) -> None:
    with sessions.writing() as session:
        session.execute(sa.update(Schedule).values(next_scan_at=datetime.now(UTC), urgent=False))


def one_round(bench: Bench) -> dict[str, Told]:
    stand = bench.stand
    told: dict[str, Told] = {}
    if stand.anchor:
        anchored = stand.run_anchor(bench.names, IN_FLIGHT, CLIENT)
        told["anchor"] = {**anchored, "targets": anchored["good"]}
    told["DNS"] = client(bench.stand, "dns", names=bench.names)
    told["DNS, TLS"] = client(bench.stand, "look", names=bench.names)
    for engine, fresh in bench.fresh.items():
        url = fresh("h")
        told[f"first, {engine}"] = client(stand, "whole", url=url)
        again(url)
        told[f"second, {engine}"] = client(stand, "whole", url=url)
    for what, each in told.items():
        if each["good"] != bench.names:
            raise SystemExit(f"{what}: {each['good']} of {bench.names} showed a certificate: the measure is void")
    return told


def again(url: str) -> None:
    sessions = Sessions(make_engine(url))
    make_due(sessions)
    sessions.engine.dispose()


def start(stand: Stand, what: str, **orders: object) -> subprocess.Popen[str]:
    """A client that waits for a line to begin."""
    kind, count = str(orders.pop("kind", "h")), int(str(orders.pop("names", 0)))
    names = [stand.name(kind, number) for number in range(count)]
    whole: dict[str, object] = {
        "what": what, "url": "sqlite://", "resolver": stand.resolver, "roots": str(stand.roots), "folder": str(stand.folder), "core": CLIENT,
        "in_flight": IN_FLIGHT, "port": stand.port, "names": names, **orders,
    }  # fmt: skip
    words = (sys.executable, "-P", "-m", "bench.scan_child", json.dumps(whole))
    root = str(Path(__file__).resolve().parents[1])
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": root}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit("a client did not start")
    return process


def client(stand: Stand, what: str, **orders: object) -> Told:
    said, _ = (process := start(stand, what, **orders)).communicate("go\n", timeout=300)
    if process.returncode:
        raise SystemExit(f"a client ended with {process.returncode}")
    told: Told = json.loads(said)
    return told


def us(told: Told) -> float:
    """Microseconds of the client's CPU for one target."""
    return float(told["cpu_s"]) / float(told["targets"]) * 1e6


def ratio(rounds: Sequence[Mapping[str, Told]], over: str, under: str, of: Callable[[Told], float] = us) -> str:
    """The median of the rounds' ratios, with the least and the greatest."""
    ratios = sorted(of(each[over]) / of(each[under]) for each in rounds)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def tell(bench: Bench) -> None:
    rounds = bench.rounds
    for what in rounds[0]:
        cost, rate = (statistics.median(of(each[what]) for each in rounds) for of in (us, lambda told: told["targets"] / told["wall_s"]))
        print(f"{what}: {cost:.0f} us of CPU a target, {1e6 / cost:.0f} a CPU second, {rate:.0f} a second on the wall (medians)")
    for engine in bench.fresh:
        if bench.stand.anchor:
            print(f"{engine}: second scan / anchor, per CPU second: {ratio(rounds, 'anchor', f'second, {engine}')}; goal 0.9")
        print(f"{engine}: first scan / second, per CPU second: {ratio(rounds, f'second, {engine}', f'first, {engine}')}; goal 0.7")
        for scan in ("first", "second"):
            print(f"  {scan}, us of CPU a target: {stages(rounds, f'{scan}, {engine}')}")


def stages(rounds: Sequence[Mapping[str, Told]], what: str) -> str:
    """DNS and TLS from the runs that did nothing else; claim, reading, judging and storing as timed; the rest is what is left."""
    parts: dict[str, list[float]] = {}
    for each in rounds:
        dns, looked, whole = us(each["DNS"]), us(each["DNS, TLS"]), us(each[what])
        timed = {stage: seconds / each[what]["targets"] * 1e6 for stage, seconds in each[what]["stages"].items()}
        for stage, cost in {"DNS": dns, "TLS": looked - dns, **timed, "rest": whole - looked - sum(timed.values())}.items():
            parts.setdefault(stage, []).append(cost)
    return ", ".join(f"{stage} {statistics.median(costs):.0f}" for stage, costs in parts.items())


def two_workers(bench: Bench) -> None:
    """Names a second of two workers on both cores, which servers and database share with them. Small batches, so that both end at once."""
    batch = max(20, bench.names // 8)
    for engine, fresh in bench.fresh.items():
        url = fresh("h")
        for scan in ("first", "second"):
            workers = [start(bench.stand, "whole", url=url, core=core, shared=True, batch=batch) for core in (CLIENT, SERVERS)]
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            told = [json.loads(worker.communicate(timeout=300)[0]) for worker in workers]
            done, slowest = sum(each["targets"] for each in told), max(each["wall_s"] for each in told)
            shares = " and ".join(str(each["targets"]) for each in told)
            print(
                f"{engine}, two workers, {scan} scan: {done / slowest:.0f} a second on the wall ({shares} in batches of {batch}; servers on the same two cores)"
            )
            again(url)


def mixed(names: int) -> None:
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder), names) as stand, databases(stand, names) as fresh:
        for engine, make in fresh.items():
            url = make("mix")
            for scan in ("first", "second"):
                told = client(stand, "whole", url=url)
                rate = told["targets"] / told["wall_s"]
                print(
                    f"mix, {engine}, {scan} scan: {us(told):.0f} us of CPU a target, {rate:.0f} a second on the wall; {told['good']} of {names} good"
                )
                again(url)


def memory(held: int) -> None:
    """The most memory of a client with so many handshakes begun, none of which ends before all are begun."""
    for engine in ("SQLite", "PostgreSQL"):
        with tempfile.TemporaryDirectory() as folder, standing(Path(folder), held, held=held) as stand, databases(stand, held) as fresh:
            if not stand.native or engine not in fresh:
                print(f"memory with {held} in flight, {engine}: not measured, which needs the native servers and the database")
                continue
            told = client(stand, "whole", url=fresh[engine]("w"), in_flight=held)
            print(
                f"{held} in flight, {engine}: {told['rss_mb']:.0f} MB at most; {told['good']} of {held} good after {told['wall_s']:.1f} s"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
