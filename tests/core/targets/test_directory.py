"""What only a folder can do wrong: no links, what is no file, whose it is, which disk it lies on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from core.targets import TargetError, open_target
from core.targets.directory import DirectoryTarget
from tests.core.targets.conftest import AddingOnly, failed, measure
from tests.processes import eventually


@pytest.mark.slow
def test_a_folder_without_links_stores_and_never_replaces(tmp_path: Path) -> None:
    target = AddingOnly(open_target((tmp_path / "target").as_uri()), tmp_path, ("os.link",))
    assert target.put("dump", io.BytesIO(b"content")) == measure("dump", b"content")
    assert target.put("dump", io.BytesIO(b"content")) == measure("dump", b"content")
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["dump"]


@pytest.mark.slow
def test_a_folder_without_links_looks_before_it_renames(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    with AddingOnly(open_target(folder.as_uri()), tmp_path, ("os.link",)).putting("dump", slow) as program:
        with slow.open("wb") as pipe:
            pipe.write(b"second")
            eventually(lambda: list(folder.glob(".dump.*.partial")))
            open_target(folder.as_uri()).put("dump", io.BytesIO(b"first"))
        assert b"already holds other content under dump" in program.communicate(timeout=60)[1]
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("dump", b"first")]


def test_a_folder_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    error = failed(open_target((tmp_path / "file").as_uri()), "dump", b"content")
    assert error.kind == "exists"
    error = failed(open_target("file:///proc/keychest"), "dump", b"content")
    assert error.kind in {"refused", "unreachable"}


def test_folders_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    open_target((tmp_path / "made" / "target").as_uri()).put("backups/dump", io.BytesIO(b"content"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "made").rglob("*")}
    assert modes == {"target": 0o700, "backups": 0o700, "dump": 0o600}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_links_pipes_and_partials_in_a_folder_are_no_files(tmp_path: Path) -> None:
    target = open_target(tmp_path.as_uri())
    (tmp_path / ".dump.0123.partial").write_bytes(b"half")
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "lost+found").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert target.names() == []
    for name in ("link", "pipe"):
        with pytest.raises(TargetError, match=f"holds no {name}"):
            target.get(name, io.BytesIO())
        assert failed(target, name, b"content").kind == "exists"
        target.remove(name)
        assert (tmp_path / name).is_symlink() or (tmp_path / name).is_fifo(), "what is not ours stays"


def test_a_folder_tells_its_filesystem_before_it_is_made(tmp_path: Path) -> None:
    assert DirectoryTarget(tmp_path / "not" / "yet").device() == tmp_path.stat().st_dev
    assert DirectoryTarget(Path("/proc/self/none")).device() != tmp_path.stat().st_dev
