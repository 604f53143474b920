"""Writers and sequencers are killed at random: what was acknowledged is in the log, once, in a tree that nobody saw go back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.counting import commitment_of, digest_of
from audit.entry import opens, read_entry
from audit.keeper import Keeper
from audit.kinds import COUNTED, ROTATED
from audit.note import Checkpoint, Note
from audit.publish import publish_tiles, published
from audit.sequencer import newest
from audit.tables import CountedEvent, Erasure, LogEntry, OutboxEvent, PrivatePart
from audit.tiles import CHECKPOINT, WIDTH, tiles_of
from audit.tree import extended, leaf_hash, root_of
from core.store.db import Sessions
from tests.conftest import ROOT
from tests.killing import ORIGIN, SEEN, SPARED
from tests.steps import EVERY
from tests.turns import files, verified

KILLS = 200 if EVERY else 30
SEED = int(os.environ.get("KILLS_SEED", "20261128"))


@pytest.mark.slow
def test_no_kill_loses_doubles_or_forks(database_url: str, sessions: Sessions, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.killing", database_url, str(tmp_path), str(SEED), str(KILLS)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"seed {SEED}: a process ended by itself: {done.stderr[-2_000:]}"
    with sessions.reading() as session:
        log = newest(session)
        bodies: dict[int, bytes] = dict(session.execute(sa.select(LogEntry.index, LogEntry.body).order_by(LogEntry.index)).all())
        parts = session.scalars(sa.select(PrivatePart).order_by(PrivatePart.index)).all()
        waiting = session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent))
        counted = session.scalars(sa.select(CountedEvent).order_by(CountedEvent.id)).all()
        erasures = session.execute(sa.select(Erasure.log, Erasure.index)).all()
    assert log is not None
    assert (waiting, log.trouble) == (0, "")
    assert list(bodies) == list(range(log.size))
    gone = dict(line.split() for line in (tmp_path / "erased").read_text().splitlines())
    own = [str(part.sealed["number"][1]) for part in parts if "number" in part.sealed]
    nothing_lost_or_doubled(tmp_path, [*own, *gone.values(), *(str(row.private["number"]) for row in counted)])
    for name in {each.partition(":")[0] for each in own}:
        mine = [int(each.partition(":")[2]) for each in own if each.startswith(f"{name}:")]
        assert mine == sorted(mine), "a writer's own events keep their order"
    assert all(opens(bodies[part.index], part.sealed) == [] for part in parts)
    assert len(gone) > KILLS // 6
    assert sorted(erasures) == sorted((1, int(index)) for index in gone), "each is erased once, and by nobody else"
    assert {part.index for part in parts} == set(bodies) - {int(index) for index in gone}
    told = {index: read_entry(body) for index, body in bodies.items()}
    hours = {index: each["said"]["digest"] for index, each in told.items() if each["kind"] == COUNTED}
    assert hours == {index: digest_of([row.commitment for row in counted if row.index == index]) for index in hours}
    assert all(row.index in hours and row.commitment == commitment_of(row) for row in counted)
    assert [each["kind"] for each in told.values()].count(ROTATED) > 0
    nothing_forked(tmp_path, [*bodies.values()])


def nothing_lost_or_doubled(folder: Path, present: list[str]) -> None:
    acknowledged = {line for path in folder.glob("acknowledged-*") for line in path.read_text().splitlines()}
    lost, doubled = acknowledged - set(present), len(present) - len(set(present))
    seen = len({path.read_bytes() for path in (folder / SEEN).iterdir()})
    figures = (
        f"seed {SEED}, {KILLS} kills: {len(acknowledged):,} acknowledged, {len(present):,} present, {len(lost)} lost, {doubled} doubled"
    )
    print(f"{figures}; strangers saw {seen} checkpoints")  # noqa: T201 - shown where it is asked for, by -s
    assert acknowledged
    assert seen >= KILLS // SPARED, figures
    assert (len(lost), doubled) == (0, 0), figures
    assert len(present) - len(acknowledged) <= KILLS + 5, "what was not acknowledged is at most what was cut off"


def nothing_forked(folder: Path, bodies: list[bytes]) -> None:
    """Every checkpoint that anybody saw is one of this very tree; what is published is just its files."""
    roots, frontier = {}, list[bytes]()
    for index, body in enumerate(bodies):
        frontier = extended(frontier, index, [leaf_hash(body)])
        roots[index + 1] = root_of(frontier)
    keeper, size = Keeper(folder / "log"), len(bodies)
    assert Checkpoint(ORIGIN, size, roots[size]) == keeper.last(1) == published(keeper, 1)
    sizes = [0]
    for each in range(len(list((folder / SEEN).iterdir()))):
        seen = Checkpoint.read(Note.read((folder / SEEN / str(each)).read_bytes()).text)
        assert seen.root == roots[seen.size]
        sizes.append(seen.size)
    assert sizes == sorted(sizes), "what strangers saw never went back"
    again = Keeper(folder / "again")
    again.prepare()
    publish_tiles(again, 1, size, 0, lambda first, end: bodies[first:end])
    theirs, made = files(keeper), files(again)
    last = {str(Path(tile.path).parent) for tile in tiles_of(size) if tile.width < WIDTH}
    narrower = {path for path in theirs if str(Path(path).parent) in last}
    assert {path: theirs[path] for path in made} == made
    assert set(theirs) - narrower == {CHECKPOINT, *made} - narrower
    told = verified(keeper)
    assert told.returncode == 0, told.stdout
