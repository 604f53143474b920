"""Two sequencers at once, as processes, while four writers go on: on one folder the second waits, on another one it signs nothing."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.entry import read_entry
from audit.keeper import Keeper
from audit.log import Event, append
from audit.publish import published
from audit.sequencer import Sequencer
from audit.tables import LogEntry, OutboxEvent, PrivatePart
from cli import sequencer as process
from core.store.db import Sessions, make_engine
from tests.postgres import Postgres
from tests.turns import NOW, ORIGIN, files, tell, trouble, verified

WRITERS = 4
SECONDS = 1.5
_FORK = multiprocessing.get_context("fork")


def write(url: str, name: int, stop: Flag, done: multiprocessing.Queue[int]) -> None:
    sessions = Sessions(make_engine(url))
    number = 0
    while not stop.is_set():
        with sessions.writing() as session:
            append(session, Event("domains.added.v1", datetime.now(UTC), "terminal", "", {"added": 1}, {"number": f"{name}:{number}"}))
        number += 1
        time.sleep(0.002)
    done.put(number)


def sequence(url: str, folder: Path, stop: Flag, shifts: tuple[int, ...]) -> None:
    """As `./keychest log run`, by a clock that is set anew in each turn."""
    vars(process).update(LOOK_S=0.02, AGAIN_S=0.02)
    turns = 0

    class Shifted(Sequencer):
        def turn(self, now: datetime) -> int:
            nonlocal turns
            turns += 1
            return super().turn(now + timedelta(seconds=shifts[turns % len(shifts)]))

    keeper = Keeper(folder)
    keeper.prepare()
    sequencer = Shifted(Sessions(make_engine(url)), keeper, ORIGIN)
    ends = threading.Event()

    def end() -> None:
        stop.wait()
        ends.set()

    threading.Thread(target=end, daemon=True).start()
    while not ends.is_set():
        process.run(sequencer, ends)


@pytest.mark.slow
@pytest.mark.parametrize("second", ["log", "elsewhere"])
def test_two_at_once_while_four_write_and_clocks_jump(second: str, database_url: str, sessions: Sessions, keeper: Keeper) -> None:
    Sequencer(sessions, keeper, ORIGIN).turn(datetime.now(UTC) - timedelta(hours=2))
    folders = [keeper.folder, keeper.folder.parent / second]
    stop, over, done = _FORK.Event(), _FORK.Event(), _FORK.Queue()
    writers = [_FORK.Process(target=write, daemon=True, args=(database_url, name, stop, done)) for name in range(WRITERS)]
    sequencers = [_FORK.Process(target=sequence, daemon=True, args=(database_url, each, over, (0, -90, 30, -3_600))) for each in folders]
    for each in (*sequencers, *writers):
        each.start()
    try:
        seen = looked_at(keeper)
        stop.set()
        told = sum(done.get(timeout=20) for _ in writers)
        end = time.monotonic() + 20
        while waiting(sessions):
            assert time.monotonic() < end, "events stay in the outbox"
            time.sleep(0.02)
        over.set()
        for each in (*writers, *sequencers):
            each.join(20)
    finally:
        for each in (*writers, *sequencers):
            each.kill()
    assert [each.exitcode for each in (*writers, *sequencers)] == [0] * (WRITERS + 2)
    assert seen == sorted(seen)
    Sequencer(sessions, keeper, ORIGIN).turn(datetime.now(UTC))
    assert not trouble(sessions)
    with sessions.reading() as session:
        bodies = [read_entry(body) for body in session.scalars(sa.select(LogEntry.body).order_by(LogEntry.index))]
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
    numbers = [str(part.sealed["number"][1]) for part in parts if "number" in part.sealed]
    assert (len(numbers), len(set(numbers))) == (told, told)
    for name in range(WRITERS):
        mine = [each for each in numbers if each.startswith(f"{name}:")]
        assert mine == [f"{name}:{number}" for number in range(len(mine))], "each writer's events keep their order"
    assert [each for each in bodies if each.get("back_s")], "the clock went back, and entries tell it"
    assert all(now["logged"] >= before["logged"] or now["back_s"] for before, now in itertools.pairwise(bodies))
    result = verified(keeper)
    assert result.returncode == 0, result.stdout
    if second == "elsewhere":
        assert not files(Keeper(folders[1]))
        assert not (folders[1] / "key").exists()


@pytest.mark.slow
def test_one_that_comes_in_between_waits_and_looks_anew(sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the claim on the folder does not hold, as on some disks of a network, the database's own lock does."""
    first, second = Sequencer(sessions, keeper, ORIGIN), Sequencer(sessions, keeper, ORIGIN)
    first.turn(NOW)
    second.turn(NOW)
    tell(sessions, 3)
    inside, on = threading.Event(), threading.Event()
    real = Sequencer._store

    def slow(self: Sequencer, *words: Any) -> None:
        if self is first:
            inside.set()
            assert on.wait(10)
        real(self, *words)

    monkeypatch.setattr(Sequencer, "_store", slow)
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(first.turn, NOW)
        assert inside.wait(10)
        between = pool.submit(second.turn, NOW)
        time.sleep(0.2)
        on.set()
        assert (working.result(), between.result()) == (3, 0)
    tell(sessions, 2)
    assert (second.turn(NOW), first.turn(NOW)) == (2, 0)
    assert verified(keeper).returncode == 0


@pytest.mark.slow
def test_what_commits_late_is_not_passed_over(postgres: Postgres, keeper: Keeper) -> None:
    """On PostgreSQL ids are given before the commit: an event with a lower one may become visible after one with a higher one was taken."""
    url = postgres.database()
    sessions = Sessions(make_engine(url))
    sequencer = Sequencer(sessions, keeper, ORIGIN)
    with sessions.writing() as late:
        append(late, Event("domains.added.v1", NOW, "terminal", "", {"added": 1}, {"number": 1}))
        with sessions.writing() as early:
            append(early, Event("domains.added.v1", NOW, "terminal", "", {"added": 1}, {"number": 2}))
        assert sequencer.turn(NOW) == 2
    assert sequencer.turn(NOW) == 1
    with sessions.reading() as session:
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
    assert [part.sealed["number"][1] for part in parts[1:]] == [2, 1]
    assert waiting(sessions) == 0
    sessions.engine.dispose()
    postgres.drop(url)


def looked_at(keeper: Keeper) -> list[int]:
    """The sizes that strangers see meanwhile, until they saw some that differ."""
    seen: list[int] = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or len(set(seen)) < 3:
        assert time.monotonic() < end + 20, f"the log does not go on: {set(seen)}"
        found = published(keeper, 1)
        seen.append(found.size if found else 0)
        time.sleep(0.02)
    return seen


def waiting(sessions: Sessions) -> int:
    with sessions.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) or 0
