"""What happens to the log's folder, or between two steps of a turn: nothing is signed by another key, forgotten, or left half done."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from audit import publish
from audit.keeper import Keeper
from audit.note import Checkpoint, Note, Signature
from audit.sequencer import Sequencer
from audit.tiles import tiles_of
from core.store.db import Sessions
from tests.turns import NOW, ORIGIN, files, restored, tell, trouble, verified


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["it runs on", "started again"])
@pytest.mark.parametrize("lost", ["gone", "another", "damaged", "rotated away"])
def test_without_the_key_that_strangers_know_nothing_is_signed(
    lost: str, again: bool, sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path
) -> None:
    tell(sessions, 3)
    sequencer.turn(NOW)
    before, path = files(keeper), keeper.folder / "key"
    aside = path.rename(keeper.folder / "aside")
    if lost == "another":
        Keeper(tmp_path / "other").key()
        (tmp_path / "other" / "key").rename(path)
    elif lost == "damaged":
        path.write_bytes(aside.read_bytes()[:-9])
    elif lost == "rotated away":
        keeper.make_next_key()
    tell(sessions, 2)
    working = Sequencer(sessions, keeper, ORIGIN) if again else sequencer
    assert working.turn(NOW) == 0
    assert ("is no key of a log" if lost == "damaged" else "key that signed this log is not in") in trouble(sessions)
    assert files(keeper) == before
    assert path.exists() is (lost in {"another", "damaged"}), "no new key takes its place"
    aside.rename(path)
    assert working.turn(NOW + timedelta(minutes=1)) == 2 + (lost == "rotated away")
    assert not trouble(sessions)
    assert verified(keeper).returncode == 0


@pytest.mark.slow
def test_a_first_start_that_was_cut_short_elsewhere_signs_nothing_later(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder has a key, and a checkpoint of size 0; the log was begun by another machine meanwhile."""
    elsewhere = Keeper(tmp_path / "elsewhere")
    elsewhere.prepare()
    with monkeypatch.context() as patched:
        patched.setattr(Sequencer, "_store", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Sequencer(sessions, elsewhere, ORIGIN).turn(NOW)
    assert elsewhere.last(1) is not None
    tell(sessions, 3)
    assert sequencer.turn(NOW) == 4
    before = files(keeper)
    tell(sessions, 1)
    assert Sequencer(sessions, elsewhere, ORIGIN).turn(NOW) == 0
    assert not files(elsewhere)
    assert files(keeper) == before
    assert sequencer.turn(NOW) == 1
    assert verified(keeper).returncode == 0


@pytest.mark.parametrize("moment", ["before the act", "before publishing"])
def test_a_restored_database_never_takes_the_place_of_the_checkpoint_outside(
    moment: str, sequencer: Sequencer, sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(sessions, 9)
    sequencer.turn(NOW)
    kept, before = keeper.last(1), files(keeper)
    where = "_ready" if moment == "before the act" else "_sequence"
    real = getattr(Sequencer, where)

    def then_restored(self: Sequencer, now: datetime) -> Any:
        found = real(self, now)
        restored(sessions, keeper, 6)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Sequencer, where, then_restored)
        assert sequencer.turn(NOW) == 0
    assert keeper.last(1) == kept
    sequencer.turn(NOW)
    assert "holds 6 entries of 10 that were signed" in trouble(sessions)
    assert (keeper.last(1), files(keeper)) == (kept, before)


def test_a_hole_in_what_is_published_is_filled_though_the_disk_was_full_at_first(
    sequencer: Sequencer, sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(sessions, 300)
    sequencer.turn(NOW)
    before = files(keeper)
    (keeper.public / "tile" / "entries" / "000").unlink()
    again = Sequencer(sessions, keeper, ORIGIN)
    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "put_public", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            again.turn(NOW)
    again.turn(NOW)
    assert files(keeper) == before


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["it runs on", "started again"])
def test_narrower_tiles_go_though_the_turn_ended_at_the_checkpoint(
    again: bool, sequencer: Sequencer, sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(sessions, 250)
    sequencer.turn(NOW)
    tell(sessions, 20)
    with monkeypatch.context() as patched:
        patched.setattr(publish, "drop_narrower", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sequencer.turn(NOW)
    assert "tile/0/000.p/251" in files(keeper)
    (Sequencer(sessions, keeper, ORIGIN) if again else sequencer).turn(NOW)
    assert set(files(keeper)) == {"checkpoint", *(tile.path for tile in tiles_of(271))}
    assert verified(keeper).returncode == 0


class Looks:
    """A witness that looks at what is kept outside when it is asked."""

    quorum, many = 0, 1

    def __init__(self, keeper: Keeper) -> None:
        self.keeper, self.asked = keeper, 0

    def cosignatures(self, note: Note, checkpoint: Checkpoint, proof_from: object, now: datetime) -> list[Signature]:
        self.asked += 1
        assert self.keeper.last(1) == checkpoint
        return []


@pytest.mark.slow
def test_what_is_signed_is_kept_outside_before_anybody_sees_any_of_it(
    sessions: Sessions, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, real, kept = Looks(keeper), Keeper.put_public, set[int]()
    working = Sequencer(sessions, keeper, ORIGIN, looks)

    def put(self: Keeper, path: Path, content: bytes, *, overwrite: bool = False) -> None:
        last = self.last(1)
        kept.add(last.size if last else 0)
        real(self, path, content, overwrite=overwrite)

    monkeypatch.setattr(Keeper, "put_public", put)
    for size in (301, 601):
        tell(sessions, 300)
        working.turn(NOW)
        assert kept == {size}
        kept.clear()
    assert looks.asked == 2


def test_the_checkpoint_outside_alone_is_enough_to_refuse(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    """What is published may be lost with the database that was restored."""
    tell(sessions, 9)
    sequencer.turn(NOW)
    restored(sessions, keeper, 6)
    shutil.rmtree(keeper.public)
    keeper.prepare()
    assert Sequencer(sessions, keeper, ORIGIN).turn(NOW) == 0
    assert "holds 6 entries of 10 that were signed" in trouble(sessions)
    assert not files(keeper)


def test_who_reads_a_file_while_it_is_replaced_has_the_old_one_whole(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    sequencer.turn(NOW)
    before = (keeper.public / "checkpoint").read_bytes()
    with (keeper.public / "checkpoint").open("rb") as reading:
        tell(sessions, 1)
        sequencer.turn(NOW)
        assert reading.read() == before
    assert (keeper.public / "checkpoint").read_bytes() != before
