"""A copy of the logs is whole at every moment, grows alone, and is what the verifier takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from audit.note import Note
from audit.reading import Folder
from core.status.mirror import Bound, MirrorError, mirror
from tests.audit_logs import KEY, NEXT_KEY, Lies, after, bodies, log_of, put, rotated, started
from tests.conftest import ROOT


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_log_is_copied_as_it_grows_and_nothing_is_written_twice(tmp_path: Path) -> None:
    entries = bodies(600)
    for size in (1, 255, 256, 300, 513, 600):
        source = log_of(entries[:size])
        assert mirror(source, tmp_path) > 0
        assert found(tmp_path).items() >= dict(source).items()  # beginnings of bundles stay until these are full, as in the log itself
        assert mirror(source, tmp_path) == 0
    told = subprocess.run((sys.executable, "-m", "audit", "verify", str(tmp_path)), capture_output=True, text=True, cwd=ROOT, check=False)
    assert told.returncode == 0, told.stdout


def test_a_log_that_follows_is_copied_too(tmp_path: Path) -> None:
    first = log_of(bodies(5))
    second = log_of([after(first), *bodies(3)[1:]], origin="keychest.example/log/2")
    both = Lies(dict(first) | {"continued": b"2\n"} | {f"2/{name}": content for name, content in second.items()})
    mirror(both, tmp_path)
    assert found(tmp_path) == dict(both)


@pytest.mark.parametrize("missing", ["tile/0/000.p/44", "tile/entries/000.p/44", "tile/1/000.p/1"])
def test_a_checkpoint_is_not_copied_before_what_it_promises(tmp_path: Path, missing: str) -> None:
    small, entries = log_of(bodies(300)[:20]), bodies(300)
    mirror(small, tmp_path)
    broken = log_of(entries)
    del broken[missing if missing in broken else next(name for name in broken if name.startswith(missing[:8]))]
    with pytest.raises(MirrorError, match="is not there"):
        mirror(broken, tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == small["checkpoint"]
    mirror(log_of(entries), tmp_path)
    assert found(tmp_path) == dict(log_of(entries))


def test_a_source_that_shrank_or_is_gone_changes_nothing(tmp_path: Path) -> None:
    whole = log_of(bodies(40))
    mirror(whole, tmp_path)
    with pytest.raises(MirrorError, match="no growth"):
        mirror(log_of(bodies(40)[:39]), tmp_path)
    with pytest.raises(MirrorError, match="no checkpoint any more"):
        mirror(Lies(), tmp_path)
    assert mirror(Lies(), tmp_path / "new") == 0
    with pytest.raises(MirrorError):
        mirror(Lies({"checkpoint": b"no note"}), tmp_path)
    assert found(tmp_path) == dict(whole)
    put(whole, tmp_path / "other")
    assert mirror(Folder(tmp_path / "other"), tmp_path / "third") == len(whole)


@pytest.mark.parametrize("path", ["tile/1/000.p/1", "tile/0/000", "tile/0/001.p/44", "tile/entries/000", "tile/entries/001.p/44"])
@pytest.mark.parametrize("grown", [True, False])
def test_what_the_source_shows_is_compared_with_its_root_before_it_counts(tmp_path: Path, path: str, grown: bool) -> None:
    small, whole = log_of(bodies(20)) if grown else Lies(), log_of(bodies(300))
    mirror(small, tmp_path)
    lying = Lies(whole | {path: whole[path][:-1] + bytes([whole[path][-1] ^ 1])})
    with pytest.raises(MirrorError, match=r"is not what its checkpoint promises|another root|another history"):
        mirror(lying, tmp_path)
    assert found(tmp_path).items() >= dict(small).items()
    assert all(whole[name] == raw for name, raw in found(tmp_path).items() if name not in small)
    mirror(whole, tmp_path)
    assert found(tmp_path) == dict(whole)


@pytest.mark.parametrize("path", ["tile/1/000.p/1", "tile/0/000", "tile/entries/000", "tile/entries/001.p/44"])
def test_a_file_of_the_copy_that_was_damaged_is_fetched_again_after_a_start(tmp_path: Path, path: str) -> None:
    whole, copy = log_of(bodies(300)), tmp_path / path.replace("/", "-")  # a folder that no look of this process knows
    put(whole, copy)
    (copy / path).write_bytes(whole[path][:-1] + b"x")
    assert mirror(whole, copy) == 1
    assert found(copy) == dict(whole)


@pytest.mark.parametrize("size", [40, 60, 300])
def test_another_history_is_not_copied_over_the_one_that_is_known(tmp_path: Path, size: int) -> None:
    first = log_of(bodies(40))
    other = [started(), *reversed(bodies(size)[1:])]
    mirror(first, tmp_path)
    with pytest.raises(MirrorError, match="another history"):
        mirror(log_of(other), tmp_path)
    assert found(tmp_path) == dict(first)


def test_a_checkpoint_is_signed_by_the_logs_key_or_by_one_that_it_handed_over_to(tmp_path: Path) -> None:
    mirror(log_of(bodies(20)), tmp_path)
    before = found(tmp_path)
    strange = log_of(bodies(30), NEXT_KEY)
    unsigned = Lies(log_of(bodies(30)))
    note = Note.read(unsigned["checkpoint"])
    unsigned["checkpoint"] = Note(note.text, Note.read(log_of(bodies(31))["checkpoint"]).signatures).raw
    false = [*bodies(25), rotated(NEXT_KEY, NEXT_KEY, 25)]
    for source, why in ((strange, "is not signed by"), (unsigned, "does not hold"), (log_of(false, NEXT_KEY), "does not prove it")):
        with pytest.raises(MirrorError, match=why):
            mirror(source, tmp_path)
        assert found(tmp_path) == before
    handed = [*bodies(25), rotated(KEY, NEXT_KEY, 25)]
    for entries in (handed, [*handed, *bodies(40)[26:]]):
        mirror(log_of(entries, NEXT_KEY), tmp_path)
        mirror(log_of(entries, NEXT_KEY), tmp_path / f"after-{len(entries)}")  # trusted on first use, and followed
    with pytest.raises(MirrorError, match="is not signed by"):
        mirror(log_of([*handed, *bodies(60)[26:]], KEY), tmp_path)


def test_one_look_takes_so_much_and_the_checkpoint_comes_when_all_is_there(tmp_path: Path) -> None:
    whole, looks = log_of(bodies(1100)), 0
    while not (tmp_path / "checkpoint").exists():
        mirror(whole, tmp_path, Bound(files=6))
        looks += 1
        assert looks < 12
    assert looks > 2
    assert found(tmp_path) == dict(whole)


def test_that_a_log_goes_on_is_told_with_the_one_that_does_and_never_taken_back(tmp_path: Path) -> None:
    first = log_of(bodies(5))
    begun = Lies(dict(first) | {"continued": b"2\n"})
    mirror(begun, tmp_path)
    assert found(tmp_path) == dict(first)
    second = log_of([after(first), *bodies(3)[1:]], origin="keychest.example/log/2")
    both = Lies(dict(begun) | {f"2/{name}": content for name, content in second.items()})
    mirror(both, tmp_path)
    assert found(tmp_path) == dict(both)
    for said in (first, Lies(dict(both) | {"continued": b"7\n"})):
        with pytest.raises(MirrorError, match="goes on"):
            mirror(said, tmp_path)
    assert found(tmp_path) == dict(both)


def test_entries_that_agree_with_each_other_and_not_with_the_checkpoint_are_not_copied(tmp_path: Path) -> None:
    whole, other = log_of(bodies(300)), log_of([started(), *reversed(bodies(300)[1:])])
    with pytest.raises(MirrorError, match="another root"):
        mirror(Lies(dict(other) | {"checkpoint": whole["checkpoint"]}), tmp_path)
    assert found(tmp_path) == {}
