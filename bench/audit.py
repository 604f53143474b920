"""What the log costs here: appends, entries, publishing, verifying, and a public page of a small and of a large log. Prints figures.

    ./keychest bench audit [seconds] [entries]

Appends are durable (fsync on, `synchronous=FULL`), each in a transaction of its own, by 1 and by 4 processes, for so many seconds (4 by
default), on SQLite and on PostgreSQL; then the same beside a running sequencer. The sequencer then drains an outbox. A log of `entries`
(100,000 by default) is published and verified by `python -m audit verify`, as a stranger does; a page of it is asked for beside the same
page of a log of 1,000. Goals: 1,000 appends/s from 4 writers on each database, 100,000 entries verified within 10 s, a page whose cost
does not grow with the log.
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from multiprocessing.synchronize import Event as Flag
from pathlib import Path

import sqlalchemy as sa

from audit.keeper import Keeper
from audit.log import Event, append
from audit.sequencer import Sequencer, newest
from audit.tables import OutboxEvent
from config import Settings
from core.store import schema
from core.store.db import Sessions, make_engine
from portal import create_app
from tests.conftest import ROOT
from tests.postgres import folder_of_its_own, running_postgres
from wsgi import parts

ORIGIN = "keychest.example/log"
WRITERS = 4
ROUNDS = 60


def main(arguments: list[str]) -> None:
    seconds = float(arguments[0]) if arguments else 4.0
    entries = int(arguments[1]) if len(arguments) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder, folder_of_its_own() as own, running_postgres(own / "server") as server:
        for name, url in (("SQLite", f"sqlite:///{folder}/keychest.db"), ("PostgreSQL", server.database())):
            appends(name, url, Path(folder) / name, seconds)
        published(Path(folder), entries)


def appends(name: str, url: str, folder: Path, seconds: float) -> None:
    engine = make_engine(url)
    schema.upgrade(engine)
    one, four = (rate(url, writers, seconds) for writers in (1, WRITERS))
    print(f"{name}: durable appends per second: {one:,.0f} from 1 writer, {four:,.0f} from {WRITERS}")
    keeper = Keeper(folder)
    keeper.prepare()
    sequencer = Sequencer(Sessions(engine), keeper, ORIGIN)
    waiting = count(engine)
    began = time.monotonic()
    while sequencer._sequence(datetime.now(UTC)):  # noqa: SLF001 - without publishing
        pass
    print(f"{name}: {waiting:,} events became signed entries at {waiting / (time.monotonic() - began):,.0f} per second")
    sequencer.turn(datetime.now(UTC))
    stop = multiprocessing.Event()
    beside = multiprocessing.Process(target=sequence, args=(url, folder, stop))
    beside.start()
    busy = rate(url, WRITERS, seconds)
    stop.set()
    beside.join()
    print(f"{name}: beside a running sequencer {busy:,.0f} per second from {WRITERS} writers, {busy / four:.2f} of what they do alone")
    engine.dispose()


def count(engine: sa.Engine) -> int:
    with Sessions(engine).reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) or 0


def rate(url: str, writers: int, seconds: float) -> float:
    """Appends per second of all writers together."""
    counts: multiprocessing.Queue[int] = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=write, args=(url, seconds, counts)) for _ in range(writers)]
    for process in processes:
        process.start()
    total = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total / seconds


def write(url: str, seconds: float, counts: multiprocessing.Queue[int]) -> None:
    sessions = Sessions(make_engine(url))
    now = datetime.now(UTC)
    made, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with sessions.writing() as session:
            event = Event(
                "domains.added.v1", now, "user:abcdefghjkmnpqrs", "zyxwvutsrqpnmkjh", {"added": 1, "restored": 0}, {"names": "a.example"}
            )
            append(session, event)
        made += 1
    counts.put(made)


def sequence(url: str, folder: Path, stop: Flag) -> None:
    sequencer = Sequencer(Sessions(make_engine(url)), Keeper(folder), ORIGIN)
    while not stop.wait(0.5):
        sequencer.turn(datetime.now(UTC))


@contextmanager
def made_log(folder: Path, entries: int) -> Iterator[Keeper]:
    """A log of so many entries, published."""
    engine = make_engine(f"sqlite:///{folder}/log-{entries}.db")
    schema.upgrade(engine)
    sessions, keeper = Sessions(engine), Keeper(folder / f"log-{entries}")
    keeper.prepare()
    now = datetime.now(UTC)
    event = {"at": now, "kind": "domains.added.v1", "actor": "user:abcdefghjkmnpqrs", "account_ref": "zyxwvutsrqpnmkjh"}
    rows = [event | {"public": {"added": each, "restored": 0}, "private": {"names": f"n{each}.example"}} for each in range(entries - 1)]
    with sessions.writing() as session:
        session.execute(sa.insert(OutboxEvent), rows)
    sequencer = Sequencer(sessions, keeper, ORIGIN)
    while sequencer._sequence(now):  # noqa: SLF001 - as above
        pass
    began = time.monotonic()
    sequencer.turn(now)
    with sessions.reading() as session:
        log = newest(session)
    assert log is not None
    files = sum(path.is_file() for path in keeper.public.rglob("*"))
    print(f"a log of {log.size:,} entries is published in {time.monotonic() - began:.2f} s, as {files:,} files")
    yield keeper
    engine.dispose()


def published(folder: Path, entries: int) -> None:
    with made_log(folder, 1_000) as small, made_log(folder, entries) as large:
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "audit", "verify", str(large.public)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        print(f"{entries:,} entries are verified from a folder in {time.monotonic() - began:.2f} s, the start of Python included")
        for path, words in (("/log", "the public log"), ("/log/entries/1/{}", "an entry with its proof")):
            first, second = (asked(keeper, path, size) for keeper, size in ((small, 1_000), (large, entries)))
            ratio = statistics.median(many / few for few, many in zip(first, second, strict=True))
            print(
                f"{words}: {statistics.median(second) * 1_000:.1f} ms of a log of {entries:,}, {ratio:.2f} of what it takes of one of 1,000"
            )


def asked(keeper: Keeper, path: str, size: int) -> list[float]:
    """Seconds for a page, round by round, each time of another entry; the first is left out, since it compiles the templates."""
    data = keeper.folder.parent / f"portal-{size}"
    data.mkdir(exist_ok=True)
    client = create_app(parts(Settings(data=data, log_folder=str(keeper.folder)))).test_client()
    found = []
    for each in range(ROUNDS + 1):
        began = time.monotonic()
        answer = client.get(path.format(each * 7_919 % size))
        found.append(time.monotonic() - began)
        assert answer.status_code == HTTPStatus.OK, answer
    return found[1:]
