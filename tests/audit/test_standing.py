"""What the sequencer refuses to sign: databases and folders that are not as they were."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.keeper import Keeper
from audit.note import public_of
from audit.sequencer import Sequencer, newest
from audit.tables import Log, LogEntry, OutboxEvent
from core.store.db import Sessions
from tests.turns import NOW, ORIGIN, events, kinds, restored, told, trouble, unguarded


@pytest.mark.slow
def test_after_a_restore_nothing_is_signed_until_another_log_is_begun(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    events(sessions, *range(1, 10))
    sequencer.turn(NOW)
    before = {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    promised = keeper.last(1)
    assert promised is not None
    restored(sessions, keeper, 6)
    events(sessions, 100, 101)
    for each in (sequencer, Sequencer(sessions, keeper, ORIGIN)):
        for later in (0, 1, 40):
            assert each.turn(NOW + timedelta(seconds=later)) == 0
        assert "holds 6 entries of 10 that were signed" in trouble(sessions)
        assert "log continue" in trouble(sessions)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
    assert keeper.last(1) == promised
    with sessions.writing() as session:
        session.add(Log(number=2, origin=f"{ORIGIN}/2", reason="the backup of Tuesday", begun_at=NOW))
    assert sequencer.turn(NOW) == 3
    assert trouble(sessions) == ""
    first, *rest = told(keeper, 2)
    assert first["said"] == {
        "origin": f"{ORIGIN}/2", "vkey": public_of(keeper.key(), f"{ORIGIN}/2").vkey, "reason": "the backup of Tuesday",
        "previous_origin": ORIGIN, "previous_size": 10, "previous_root": base64.b64encode(promised.root).decode(), "previous_kept": 6,
    }  # fmt: skip
    assert [each["kind"] for each in rest] == ["domains.added.v1"] * 2
    assert (keeper.public / "continued").read_text() == "2\n"
    assert len(kinds(keeper)) == 10, "the old log stays as it was"
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert trouble(sessions) == ""


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["outside", "log", "newer", "entry", "changed", "frontier", "damaged", "origin", "fork"])
def test_a_database_or_folder_that_is_not_as_it_was_signs_nothing(
    lost: str, sequencer: Sequencer, sessions: Sessions, keeper: Keeper
) -> None:
    events(sessions, *range(1, 6))
    sequencer.turn(NOW)
    note = (keeper.folder / "last-checkpoint-1").read_bytes()
    with sessions.writing() as session:
        log = newest(session)
        assert log is not None
        if lost == "outside":
            (keeper.folder / "last-checkpoint-1").unlink()
        elif lost == "log":
            unguarded(session, sa.delete(LogEntry))
            session.execute(sa.delete(Log))
        elif lost == "newer":
            keeper.keep_last(2, note)
        elif lost == "entry":
            unguarded(session, sa.delete(LogEntry).where(LogEntry.index == 3))
        elif lost == "changed":
            unguarded(session, sa.update(LogEntry).where(LogEntry.index == 3).values(body=b"{}"))
        elif lost == "frontier":
            log.frontier = log.frontier[:-32] + bytes(32)
        elif lost == "damaged":
            (keeper.folder / "last-checkpoint-1").write_bytes(note[:-9])
        elif lost == "origin":
            log.origin = "another.example/log"
    if lost == "fork":
        restored(sessions, keeper, 6, changed=3)
    events(sessions, 7)
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert trouble(sessions).endswith("docs/runbook.md says how.")
    with sessions.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) == 1, "what happens meanwhile is kept"


def test_a_trouble_that_was_mended_is_over(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    sequencer.turn(NOW)
    kept = (keeper.folder / "last-checkpoint-1").rename(keeper.folder / "aside")
    fresh = Sequencer(sessions, keeper, ORIGIN)
    fresh.turn(NOW)
    assert trouble(sessions)
    kept.rename(keeper.folder / "last-checkpoint-1")
    events(sessions, 1)
    assert fresh.turn(NOW + timedelta(minutes=1)) == 1
    assert not trouble(sessions)


@pytest.mark.slow
def test_a_second_machine_without_the_folder_signs_nothing_and_harms_nothing(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path
) -> None:
    events(sessions, *range(1, 5))
    sequencer.turn(NOW)
    elsewhere = Keeper(tmp_path / "elsewhere")
    elsewhere.prepare()
    other = Sequencer(sessions, elsewhere, ORIGIN)
    for first in range(5, 45, 5):
        events(sessions, *range(first, first + 5))
        assert other.turn(NOW) == 0
        assert sequencer.turn(NOW) == 5
    assert not [path for path in elsewhere.public.rglob("*") if path.is_file()]
    assert len(told(keeper)) == 45
    assert sequencer.turn(NOW) == 0
    assert not trouble(sessions)


def test_a_database_that_is_replaced_between_the_look_and_the_act_is_compared_anew(sessions: Sessions, keeper: Keeper) -> None:
    class Replaced(Sequencer):
        at = 0

        def _ready(self, now: datetime) -> bool:
            found = super()._ready(now)
            Replaced.at += 1
            if Replaced.at == 3:
                restored(sessions, keeper, 6)
            return found

    first = Replaced(sessions, keeper, ORIGIN)
    events(sessions, *range(1, 10))
    first.turn(NOW)
    Replaced.at = 2
    events(sessions, 100)
    before = {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()}
    assert first.turn(NOW) == 0
    assert first.turn(NOW) == 0
    assert "holds 6 entries of 10 that were signed" in trouble(sessions)
    assert {path: path.read_bytes() for path in keeper.public.rglob("*") if path.is_file()} == before
