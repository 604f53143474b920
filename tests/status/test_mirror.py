"""A copy of the logs is whole at every moment, grows alone, and is what the verifier takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from audit.reading import Folder
from core.status.mirror import MirrorError, mirror
from tests.audit_logs import Lies, after, bodies, log_of, put
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
    assert mirror(Lies(), tmp_path) == 0
    with pytest.raises(MirrorError):
        mirror(Lies({"checkpoint": b"no note"}), tmp_path)
    assert found(tmp_path) == dict(whole)
    put(whole, tmp_path / "other")
    assert mirror(Folder(tmp_path / "other"), tmp_path / "third") == len(whole)
