"""What an export costs here, beside reading the same rows raw with the driver. Prints ratios; nothing passes or fails.

    ./keychest bench exports [domains] [observations] [sqlite|postgresql]

An account of 100,000 names, each with a certificate of its own, and 1,000,000 observations (or as many as are asked for), on SQLite and on
PostgreSQL. Reading raw is every column of the rows that the bundle is made of, fetched some at a time and let go. Each side is a process of
its own; its memory is the most that it had above what it had before it began. Goals: at most 3 times the raw reading, and 150 MB.
Then as many names are imported (bench/imports.py).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench import imports
from bench.account import DAY, LARGE, Seeder, seed
from core.exports.keys import BundleKey
from core.exports.write import Whence, reading, write_bundle
from core.store.db import Sessions, make_engine
from tests.postgres import folder_of_its_own, running_postgres

NAMES, SEEN, AT_ONCE = 100_000, 1_000_000, 2_000
WHENCE: Final = Whence("https://keys.example.org", "bench", BundleKey("keys.example.org", Ed25519PrivateKey.from_private_bytes(b"k" * 32)))
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one side: seconds on the wall and of the processor, memory above idle in MiB, and what it gave."""

    seconds: float
    cpu_s: float
    above_mib: float
    gave: int


def main(arguments: list[str]) -> None:
    names = int(arguments[0]) if arguments else NAMES
    seen = int(arguments[1]) if len(arguments) > 1 else SEEN
    for engine in arguments[2:3] or ("sqlite", "postgresql"):
        with database(engine) as (url, folder):
            sessions = Sessions(make_engine(url))
            now = datetime.now(UTC)
            fill(sessions, names, seen, now)
            account = account_of(sessions)
            sessions.engine.dispose()
            raw = apart(read_raw, url, account, folder)
            made = apart(export, url, account, folder)
            print(
                f"{engine}: {names:,} names, {seen:,} observations: {raw.gave:,} rows read raw in {raw.seconds:.1f} s, exported in "
                f"{made.seconds:.1f} s ({made.gave / MIB:,.0f} MiB): {made.seconds / raw.seconds:.2f} times on the wall, "
                f"{made.cpu_s / raw.cpu_s:.2f} of the processor; memory above idle {made.above_mib:.0f} MiB, raw {raw.above_mib:.0f} MiB",
                flush=True,
            )
        imports.measure(engine, names, database)


@contextmanager
def database(engine: str) -> Iterator[tuple[str, Path]]:
    """An empty one, and a folder for files."""
    with tempfile.TemporaryDirectory() as folder:
        if engine == "sqlite":
            yield f"sqlite:///{folder}/keychest.db", Path(folder)
        else:
            with folder_of_its_own() as own, running_postgres(own / "server") as server:
                yield server.database(), Path(folder)


def fill(sessions: Sessions, names: int, seen: int, now: datetime) -> None:
    """The account; then as many certificates as names, served in turn, until there are enough observations. The newest is current."""
    seed(sessions, names, now)
    seeder = Seeder(sessions, now)
    with sessions.engine.connect() as connection, connection.execution_options(begin="IMMEDIATE").begin():
        there = connection.scalar(sa.text("SELECT count(*) FROM certificates")) or 0
        columns = "subject, issuer, serial, not_before, not_after, key, spki_sha256, unreadable"
        template = connection.execute(sa.text(f"SELECT der, {columns} FROM certificates LIMIT 1 OFFSET 3")).mappings().one()
        digests = [f"{number:064x}" for number in range(1, max(names - there, 0) + 1)]
        rest = {name: value for name, value in template.items() if name != "der"}
        for start in range(0, len(digests), AT_ONCE):
            seeder.put(connection, "certificates", [
                {"sha256": each, "der": template["der"], "first_seen_at": now, **rest} for each in digests[start : start + AT_ONCE]
            ])  # fmt: skip
        leaves = digests or list(connection.scalars(sa.text("SELECT sha256 FROM certificates")))
        for start in range(names, seen, AT_ONCE):
            seeder.put(connection, "observations", [
                _observation(number, names, leaves[number % len(leaves)], now) for number in range(start, min(start + AT_ONCE, seen))
            ])  # fmt: skip
    with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


def _observation(number: int, names: int, leaf: str, now: datetime) -> dict[str, Any]:
    return {
        "id": number + 1, "endpoint_id": number % names + 1, "perspective": "local", "address": f"192.0.2.{number % 250}",
        "seen_at": now - DAY * 39 + timedelta(hours=number // names, seconds=number % 3600), "content_sha256": leaf, "failure_kind": None,
        "failure_stage": None, "failure_message": None, "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_256_GCM_SHA384",
        "tls_group": "X25519MLKEM768", "tls_alpn": "", "leaf_sha256": leaf, "chain": [leaf], "ocsp_staple": None, "scts": None, "key_asked": "",
    }  # fmt: skip


def account_of(sessions: Sessions) -> int:
    """The large one's number."""
    named = "SELECT m.account_id FROM memberships m JOIN users u ON u.id = m.user_id WHERE u.email = :email"
    with sessions.reading() as session:
        return int(session.execute(sa.text(named), {"email": LARGE}).scalar_one())


_SEEN: Final = "w.account_id = {0} AND w.deleted_at IS NULL AND o.seen_at >= w.since_at"
RAW: Final = (
    "SELECT d.*, c.* FROM domains d LEFT JOIN domain_cards c ON c.domain_id = d.id WHERE d.account_id = {0} AND d.deleted_at IS NULL",
    "SELECT * FROM watches WHERE account_id = {0} AND deleted_at IS NULL",
    f"SELECT w.name, w.port, o.* FROM watches w JOIN observations o ON o.endpoint_id = w.endpoint_id WHERE {_SEEN}",
    "SELECT * FROM incidents WHERE account_id = {0}",
    "SELECT * FROM certificates",
)
"""The rows that a bundle is made of, each once, in the order in which the engine finds them."""


def read_raw(url: str, account: int, _folder: Path) -> int:
    """Every row, fetched by the driver; how many they were."""
    rows = 0
    with make_engine(url).connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        for number, question in enumerate(RAW):
            cursor = driver.cursor(name=f"raw_{number}") if url.startswith("postgresql") else driver.cursor()
            cursor.execute(question.format(account))
            while chunk := cursor.fetchmany(AT_ONCE):
                rows += len(chunk)
            cursor.close()
    return rows


def export(url: str, account: int, folder: Path) -> int:
    """The bundle; its bytes."""
    with reading(Sessions(make_engine(url))) as session, (folder / "bundle.zip").open("wb") as file:
        return write_bundle(session, account, file, whence=WHENCE, history="all", now=datetime.now(UTC)).bytes


Side = Callable[[str, int, Path], int]


def apart(side: Side, url: str, account: int, folder: Path) -> Cost:
    """One side in a fresh process."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_measured, args=(there, side, url, account, folder))
    process.start()
    there.close()
    try:
        cost: Cost = here.recv()
    except EOFError:
        sys.exit(f"{side.__name__} ended without an answer; what it said stands above.")
    process.join()
    return cost


def _measured(answer: Connection, side: Side, url: str, account: int, folder: Path) -> None:
    with make_engine(url).connect() as connection:  # what a process has before it begins: modules, and a connection
        connection.execute(sa.text("SELECT 1"))
    idle, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    gave = side(url, account, folder)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    answer.send(Cost(seconds, cpu_s, (memory("VmHWM") - idle) / MIB, gave))


def memory(which: str) -> int:
    """Of this process, in bytes."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{which}:"))
