"""Writers and sequencers that are killed at random: `python -m tests.killing URL FOLDER SEED KILLS`, a process that forks them all.

Each writer appends events in transactions of their own, and writes down what was acknowledged once the commit has returned.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from audit.keeper import Keeper
from audit.log import Event, append
from audit.sequencer import Sequencer
from core.store.db import Sessions, make_engine

ORIGIN = "keychest.example/log"
WRITERS = 3
SEQUENCERS = 2


def write(url: str, folder: Path, name: int, first: int) -> None:
    sessions = Sessions(make_engine(url))
    acknowledged = os.open(folder / f"acknowledged-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = first
    while True:
        with sessions.writing() as session:
            event = Event("domains.added.v1", datetime.now(UTC), "terminal", "", {"added": 1}, {"number": f"{name}:{number}"})
            append(session, event)
        os.write(acknowledged, f"{name}:{number}\n".encode())
        number += 1


def sequence(url: str, folder: Path) -> None:
    keeper = Keeper(folder / "log")
    sequencer = Sequencer(Sessions(make_engine(url)), keeper, ORIGIN)
    while True:
        with keeper.claimed() as alone:
            if alone:
                keeper.prepare()
            while alone:
                sequencer.turn(datetime.now(UTC))
                time.sleep(0.002)
        time.sleep(0.01)


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)  # neither ends by itself
    return pid


def main(url: str, folder: Path, seed: int, kills: int) -> int:
    """Kill that often; then let the last sequencer finish. Exit 1 where a process ended by itself."""
    chance = random.Random(seed)
    started = 0

    def start(place: int) -> int:
        nonlocal started
        started += 1
        first = started * 1_000_000
        return forked(lambda: write(url, folder, place, first) if place < WRITERS else sequence(url, folder))

    running = [start(place) for place in range(WRITERS + SEQUENCERS)]
    ended = 0
    for _ in range(kills):
        time.sleep(chance.uniform(0.005, 0.06))
        place = chance.choice([*range(WRITERS), *list(range(WRITERS, WRITERS + SEQUENCERS)) * 2])
        os.kill(running[place], signal.SIGKILL)
        _, status = os.waitpid(running[place], 0)
        ended += os.waitstatus_to_exitcode(status) != -signal.SIGKILL
        running[place] = start(place)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        ended += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL
    keeper = Keeper(folder / "log")
    keeper.prepare()
    last = Sequencer(Sessions(make_engine(url)), keeper, ORIGIN)
    while last.turn(datetime.now(UTC)):
        pass
    return min(ended, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
