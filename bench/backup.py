"""What backups cost here: seconds and memory of backup and drill, and what a writer notices of them. Prints figures; nothing passes or fails.

    ./keychest bench backup [megabytes]

Makes SQLite files of about a quarter of the size (256 by default) and of all of it, with rows as scans leave them, in a temporary folder
(TMPDIR names another disk; it takes about four times the size). Then each job as a process of its own, twice: alone, and beside a writer
that commits a row every millisecond, or as fast as the disk takes it. Times hold the start of the process; the comparison is part of the
drill. Where others work on the machine too, the processor's seconds tell more than the wall's.
Goals: a drill within 60 s per GB; no pause of the writer over 250 ms; memory that does not grow with the size.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event as Flag
from pathlib import Path

import sqlalchemy as sa

from audit.log import Event, append
from audit.tables import OutboxEvent
from core.store import schema
from core.store.backups import Backup, Drill
from core.store.db import Sessions, make_engine
from core.store.endpoints import Endpoint
from core.store.observations import Certificate, Observation
from demo.pki import make_chain
from tests.backups import Yard
from tests.make import make_actor, make_watches
from tests.once import environment

NAMES, BATCH = 500, 5_000
ALONE_S = 8.0
JOBS = {"backup": ("back_up", "now"), "drill": ("drill", "newest")}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process: seconds on the wall and of the processor, and the most memory it had, in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float


def main(arguments: list[str]) -> None:
    megabytes = int(arguments[0]) if arguments else 256
    peaks: dict[str, list[float]] = {"backup": [], "drill": []}
    for size in (megabytes // 4, megabytes):
        with tempfile.TemporaryDirectory() as folder:
            yard = make_yard(Path(folder), size)
            gigabytes = yard.plan.database_file.stat().st_size / 1e9
            print(f"\n{gigabytes * 1000:.0f} MB")
            for name, words in JOBS.items():
                cost = run(yard, words)
                peaks[name].append(cost.peak_mb)
                per_gb = f"{cost.seconds / gigabytes:.1f} s per GB ({cost.cpu_s / gigabytes:.1f} of them CPU)"
                print(f"  {name}: {cost.seconds:.1f} s, {per_gb}, at most {cost.peak_mb:.0f} MB of memory")
            print(f"  sealed: {newest(yard).size_bytes / 1e9 / gigabytes:.1%} of the database")
            print(f"  steps of the drill: {'; '.join(steps(yard))}")
            beside_writer(yard)
            yard.sessions.engine.dispose()
    for name, (small, large) in peaks.items():
        print(f"{name}: memory with four times the data: {large / small:.2f} times as much")


def make_yard(folder: Path, megabytes: int) -> Yard:
    yard = Yard(Sessions(make_engine(f"sqlite:///{folder / 'keychest.db'}")), folder, datetime.now(UTC), [(folder / "target").as_uri()])
    schema.upgrade(yard.sessions.engine)
    with yard.sessions.writing() as session:
        actor = make_actor(session, now=yard.at - timedelta(days=3))
        make_watches(session, actor, *(f"host{number}.example.org" for number in range(NAMES)), now=yard.at - timedelta(days=3))
    file, batches = folder / "keychest.db", rows(yard)
    while file.stat().st_size < megabytes * 1_000_000:
        with yard.sessions.writing() as session:
            for table, batch in zip((Certificate, Observation, OutboxEvent), next(batches), strict=True):
                session.execute(sa.insert(table), batch)
        with yard.sessions.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return yard


def rows(yard: Yard) -> Iterator[tuple[list[dict[str, object]], ...]]:
    """Batches of what a scan leaves when it sees something new: a certificate with a key of its own, an observation of it, an event."""
    template, keys = make_chain(["*.example.org"]).leaf.der, random.Random(1)  # the same rows every time
    with yard.sessions.reading() as session:
        endpoints = list(session.scalars(sa.select(Endpoint.id)))
    number = 0
    while True:
        certificates: list[dict[str, object]] = []
        observations: list[dict[str, object]] = []
        events: list[dict[str, object]] = []
        for number in range(number, number + BATCH):  # noqa: B020 - the count goes on from batch to batch
            at = yard.at - timedelta(days=300) + timedelta(seconds=number)
            der = template[:-600] + keys.randbytes(600)  # key, serial and signature differ; names and extensions repeat
            digest = hashlib.sha256(der).hexdigest()
            certificates.append({
                "sha256": digest, "der": der, "first_seen_at": at, "subject": f"CN=host{number % NAMES}.example.org", "issuer": "CN=Issuer 3",
                "serial": f"{keys.getrandbits(120):x}", "not_before": at, "not_after": at + timedelta(days=90), "key": "EC P-256",
                "spki_sha256": hashlib.sha256(digest.encode()).hexdigest(), "unreadable": [],
            })  # fmt: skip
            observations.append({
                "endpoint_id": endpoints[number % len(endpoints)], "perspective": "local", "address": "192.0.2.1", "seen_at": at,
                "content_sha256": digest, "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384", "tls_group": "X25519MLKEM768",
                "tls_alpn": "", "leaf_sha256": digest, "chain": [digest, "0" * 64],
            })  # fmt: skip
            events.append({
                "at": at, "kind": "endpoint.observed.v1", "actor": "worker", "account_ref": "", "public": {"changed": True},
                "private": {"endpoint": number % NAMES, "leaf": digest},
            })  # fmt: skip
        number += 1
        yield certificates, observations, events


def run(yard: Yard, words: tuple[str, ...]) -> Cost:
    began = time.perf_counter()
    process = subprocess.Popen((sys.executable, "-P", "-m", "jobs.once", *words), env=environment(yard))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    if words[0] == "drill" and not newest(yard).restorable:
        raise SystemExit(f"the drill did not pass: {newest(yard).why}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def newest(yard: Yard) -> Backup:
    return yard.stored()[0]


def steps(yard: Yard) -> list[str]:
    with yard.sessions.reading() as session:
        return session.scalars(sa.select(Drill).order_by(Drill.id.desc()).limit(1)).one().steps


def beside_writer(yard: Yard) -> None:
    """The longest that one commit took: with nothing beside it, with a backup, with a drill."""
    said: list[str] = []
    for name in ("nothing", *JOBS):
        pauses: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
        stop = multiprocessing.Event()
        writer = multiprocessing.Process(target=write, args=(yard.plan.database_url, pauses, stop))
        writer.start()
        if name == "nothing":
            time.sleep(ALONE_S)
        else:
            run(yard, JOBS[name])
        stop.set()
        took = sorted(pauses.get(timeout=60))
        writer.join()
        said.append(f"{name} {took[-1] * 1e3:.0f} ms (99.9 % within {took[int(len(took) * 0.999)] * 1e3:.0f} ms, {len(took):,} commits)")
    print(f"  a writer's longest pause beside: {'; '.join(said)}")


def write(url: str, pauses: multiprocessing.Queue[list[float]], stop: Flag) -> None:
    """Commit a row every millisecond, and tell how long each took."""
    sessions, took = Sessions(make_engine(url)), []
    while not stop.wait(0.001):
        began = time.perf_counter()
        with sessions.writing() as session:
            append(session, Event("bench.written.v1", datetime.now(UTC), "bench"))
        took.append(time.perf_counter() - began)
    sessions.engine.dispose()
    pauses.put(took)


if __name__ == "__main__":
    main(sys.argv[1:])
