"""Writers and sequencers that are killed at random: `python -m tests.killing URL FOLDER SEED KILLS`, a process that forks them all.

Each writer appends events in transactions of their own, some of them such as are counted by the hour, and writes down what was acknowledged
once the commit has returned. The clock of each sequencer is wrong by up to two hours. Meanwhile private parts are erased, keys are rotated,
and what strangers see is looked at.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from audit.erasing import erase_private
from audit.keeper import Keeper
from audit.log import Event, append
from audit.publish import published
from audit.sequencer import Sequencer
from audit.tables import PrivatePart
from audit.tiles import CHECKPOINT, WIDTH, tiles_of
from core import lifeline
from core.store import schema
from core.store.db import Sessions, make_engine

ORIGIN = "keychest.example/log"
WRITERS = 3
SEQUENCERS = 2
PAUSE_S = 0.004
"""Of a writer, so that turns are short, and are killed at each of their steps."""
SPARED = 4
"""After so many kills nobody is killed until the log went on."""
SEEN = "seen"
"""The folder of every checkpoint that strangers saw, by its size."""


def write(url: str, folder: Path, name: int, first: int) -> None:
    sessions = Sessions(make_engine(url))
    acknowledged = os.open(folder / f"acknowledged-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = first
    while True:
        kind, public = ("user.signed_in.v1", {"factor": ""}) if number % 5 == 0 else ("domains.added.v1", {"added": 1})
        with sessions.writing() as session:
            append(session, Event(kind, datetime.now(UTC), "terminal", "", public, {"number": f"{name}:{number}"}))
        os.write(acknowledged, f"{name}:{number}\n".encode())
        number += 1
        time.sleep(PAUSE_S)


def sequence(url: str, folder: Path, shift: timedelta) -> None:
    keeper = Keeper(folder / "log")
    keeper.prepare()
    sequencer = Sequencer(Sessions(make_engine(url)), keeper, ORIGIN)
    while True:
        with keeper.claimed() as alone:
            while alone:
                sequencer.turn(datetime.now(UTC) + shift)
                time.sleep(0.002)
        time.sleep(0.01)


def prepare(folder: Path) -> None:
    """What children would import at first, and look at, is there before they are forked."""
    engine = make_engine(f"sqlite:///{folder}/prepared.db")
    schema.upgrade(engine)
    with Sessions(engine).writing() as session:
        append(session, Event("user.signed_in.v1", datetime.now(UTC), "terminal"))
    keeper = Keeper(folder / "prepared")
    keeper.prepare()
    Sequencer(Sessions(engine), keeper, ORIGIN).turn(datetime.now(UTC))
    engine.dispose()


def forked(work: Callable[[], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            lifeline.end_with(parent, signal.SIGKILL)
            work()
        except BaseException:  # noqa: BLE001 - whatever it was is told, and fails the test
            traceback.print_exc()
        os._exit(1)  # neither ends by itself
    return pid


def look(folder: Path) -> None:
    """What strangers see now is kept, and every file that it promises is there: as it was, or as the beginning of the full one."""
    keeper = Keeper(folder / "log")
    try:
        note = (keeper.public / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return
    seen = published(keeper, 1)
    assert seen is not None, note
    for tile in tiles_of(seen.size):
        paths = (keeper.public / each.path for each in (tile, tile._replace(width=WIDTH)))
        assert any(path.is_file() for path in paths), f"{tile.path} of a log of {seen.size}"
    (folder / SEEN / str(len(list((folder / SEEN).iterdir())))).write_bytes(note)


def wait_for_more(keeper: Keeper) -> None:
    """Until strangers see another checkpoint: where all are killed too soon, nothing but beginnings would be tried."""
    before, end = published(keeper, 1), time.monotonic() + 10
    while published(keeper, 1) == before:
        assert time.monotonic() < end, "the log does not go on between kills"
        time.sleep(0.005)


def erase(url: str, folder: Path, chance: random.Random) -> None:
    """Erase the private part of some entry, and write down which it was."""
    engine = make_engine(url)
    with Sessions(engine).writing() as session:
        part = session.scalars(
            sa.select(PrivatePart).where(PrivatePart.kind == "domains.added.v1").limit(1).offset(chance.randrange(20))
        ).first()
        told = f"{part.index} {part.sealed['number'][1]}\n" if part else ""
        if part:
            erase_private(session, [(1, part.index)], datetime.now(UTC))
    with (folder / "erased").open("a") as file:
        file.write(told)
    engine.dispose()


def main(url: str, folder: Path, seed: int, kills: int) -> int:
    """Kill that often; then let the last sequencer finish. Exit 1 where a process ended by itself."""
    chance = random.Random(seed)
    started = 0
    (folder / SEEN).mkdir()
    prepare(folder)

    def start(place: int) -> int:
        nonlocal started
        started += 1
        first, shift = started * 1_000_000, timedelta(seconds=chance.uniform(-7_200, 7_200))
        return forked(lambda: write(url, folder, place, first) if place < WRITERS else sequence(url, folder, shift))

    running = [start(place) for place in range(WRITERS + SEQUENCERS)]
    keeper, ended = Keeper(folder / "log"), 0
    for kill in range(kills):
        if kill % SPARED == 0:
            wait_for_more(keeper)
        time.sleep(chance.uniform(0.005, 0.06))
        place = chance.choice([*range(WRITERS), *list(range(WRITERS, WRITERS + SEQUENCERS)) * 2])
        os.kill(running[place], signal.SIGKILL)
        _, status = os.waitpid(running[place], 0)
        ended += os.waitstatus_to_exitcode(status) != -signal.SIGKILL
        look(folder)
        running[place] = start(place)
        if kill % 3 == 0:
            erase(url, folder, chance)
        if kill % 7 == 0 and keeper.next_key() is None:
            keeper.make_next_key()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        ended += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL
    look(folder)
    with keeper.claimed() as alone:
        assert alone, "who was killed holds the folder no more"
        last = Sequencer(Sessions(make_engine(url)), keeper, ORIGIN)
        while last.turn(datetime.now(UTC) + timedelta(hours=3)):
            pass
    look(folder)
    return min(ended, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
