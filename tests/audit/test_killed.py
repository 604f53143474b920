"""Writers and sequencers are killed at random: what was acknowledged is in the log, once, in a tree without gaps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.keeper import Keeper
from audit.note import Checkpoint
from audit.publish import publish_tiles, published
from audit.sequencer import newest
from audit.tables import LogEntry, OutboxEvent, PrivatePart
from audit.tiles import tiles_of
from audit.tree import extended, leaf_hash, root_of
from core.store.db import Sessions
from tests.conftest import ROOT
from tests.killing import ORIGIN
from tests.steps import EVERY

KILLS = 200 if EVERY else 30
SEED = int(os.environ.get("KILLS_SEED", "20261128"))


@pytest.mark.slow
def test_no_kill_loses_doubles_or_forks(database_url: str, sessions: Sessions, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.killing", database_url, str(tmp_path), str(SEED), str(KILLS)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"seed {SEED}: a process ended by itself: {done.stderr[-2_000:]}"
    acknowledged = {line for path in tmp_path.glob("acknowledged-*") for line in path.read_text().splitlines()}
    with sessions.reading() as session:
        log = newest(session)
        rows = session.execute(sa.select(LogEntry.index, LogEntry.body).order_by(LogEntry.index)).all()
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
        assert session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) == 0
    assert log is not None
    present = [str(part.sealed["number"][1]) for part in parts if "number" in part.sealed]
    figures = f"seed {SEED}, {KILLS} kills: {len(acknowledged)} acknowledged, {len(present)} present"
    print(figures)  # noqa: T201 - shown where it is asked for, by -s
    assert acknowledged, figures
    assert not acknowledged - set(present), figures
    assert len(present) == len(set(present)), figures
    assert len(present) - len(acknowledged) <= KILLS + 5, "what was not acknowledged is at most what was cut off"
    assert [index for index, _ in rows] == list(range(log.size)) == [part.index for part in parts]
    for name in {each.partition(":")[0] for each in present}:
        mine = [int(each.partition(":")[2]) for each in present if each.startswith(f"{name}:")]
        assert mine == sorted(mine), "a writer's own events keep their order"
    frontier = extended([], 0, (leaf_hash(body) for _, body in rows))
    keeper = Keeper(tmp_path / "log")
    assert Checkpoint(ORIGIN, log.size, root_of(frontier)) == keeper.last(1) == published(keeper, 1), figures
    again = Keeper(tmp_path / "again")
    again.prepare()
    publish_tiles(again, 1, log.size, 0, lambda first, end: [body for _, body in rows[first:end]])
    for tile in tiles_of(log.size):
        assert (keeper.public / tile.path).read_bytes() == (again.public / tile.path).read_bytes(), tile.path
