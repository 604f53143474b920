"""What goes wrong between KeyChest and any target: cut and silent lines, changed octets, full disks."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.targets import Entry, Target, TargetError, open_target, put_again
from core.targets.s3 import S3Target
from core.targets.sftp import SftpTarget
from tests.core.targets.conftest import DIALLED, KINDS, Place, failed, measure, through
from tests.core.targets.wire import Wire, wire
from tests.processes import eventually
from tests.sshd import Sshd

MB = 1_000_000
every_kind = pytest.mark.parametrize("place", KINDS, indirect=True)
dialled = pytest.mark.parametrize("place", DIALLED, indirect=True)


def never(_seconds: float) -> None:
    pytest.fail("no pause is due")


@dialled
def test_a_line_cut_at_every_tenth_leaves_nothing_and_the_next_try_stores_it_whole(place: Place, between: Wire) -> None:
    content = os.urandom(5 * MB)
    whole = 0
    for tenth in range(1, 11):
        name = f"cut-{tenth}"
        between.cuts[:] = [len(content) * tenth // 10]
        between.cut_at = between.up
        seen: list[list[Entry]] = []

        def look(_seconds: float, seen: list[list[Entry]] = seen) -> None:
            seen.append(place.target.names())  # at the pause, so after an error that may be tried again

        stored = put_again(through(place, between), name, lambda: io.BytesIO(content), pause=look)
        assert [[entry.name for entry in entries if entry.name == name] for entries in seen] == [[]], "cut once, and nothing was there"
        assert not between.cuts
        into = io.BytesIO()
        place.target.get(name, into)
        whole += stored == measure(name, into.getvalue()) == measure(name, content)
    assert whole == 10


class _Bends(io.BytesIO):
    """Content that, at its end, changes the first octet of what was written of it."""

    def __init__(self, content: bytes, folder: Path) -> None:
        super().__init__(content)
        self.folder = folder

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block:
            (partial,) = self.folder.glob(".dump.*.partial")
            eventually(lambda: partial.stat().st_size > 0)
            with partial.open("r+b") as file:
                file.write(bytes([self.getvalue()[0] ^ 1]))
        return block


@pytest.mark.parametrize("place", KINDS[:2], indirect=True)
def test_what_changes_on_the_disk_before_it_has_its_name_never_gets_it(place: Place, tmp_path: Path) -> None:
    content = os.urandom(MB)
    with pytest.raises(TargetError, match="not what was written") as error:
        place.target.put("dump", _Bends(content, tmp_path / "target"))
    assert error.value.kind == "damaged"
    assert error.value.again
    assert list((tmp_path / "target").iterdir()) == []
    assert place.target.put("dump", io.BytesIO(content)) == measure("dump", content)


@dialled
def test_the_pauses_double_and_the_last_error_is_told(place: Place, between: Wire) -> None:
    content = os.urandom(MB)
    between.cuts[:] = [MB // 2] * 4
    opened: list[io.BytesIO] = []
    pauses: list[float] = []

    def open_content() -> io.BytesIO:
        opened.append(io.BytesIO(content))
        return opened[-1]

    with pytest.raises(TargetError, match="ended on the way"):
        put_again(through(place, between), "dump", open_content, pause=pauses.append)
    assert pauses == [1.0, 2.0, 4.0]
    assert len(opened) == 4
    assert all(stream.closed for stream in opened)
    assert not between.cuts
    assert place.target.names() == []


@every_kind
def test_what_will_not_pass_is_not_tried_again(place: Place) -> None:
    place.target.put("dump", io.BytesIO(b"content"))
    with pytest.raises(TargetError, match="already holds other content"):
        put_again(place.target, "dump", lambda: io.BytesIO(b"other"), pause=never)
    with pytest.raises(OSError, match="of the content's own"):
        put_again(place.target, "other", lambda: _Unreadable(b"other"), pause=never)


class _Unreadable(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "an error of the content's own")


class _Breaking(io.BytesIO):
    """Breaks after its last octet."""

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block:
            raise OSError(5, "an error of the content's own")
        return block


class _Unwritable(io.BytesIO):
    def write(self, _block: object, /) -> int:
        raise OSError(2, "an error of the receiver's own")


@every_kind
def test_an_error_of_the_receivers_own_is_not_the_targets(place: Place) -> None:
    place.target.put("dump", io.BytesIO(b"content"))
    with pytest.raises(OSError, match="of the receiver's own"):
        place.target.get("dump", _Unwritable())


@dialled
def test_a_line_cut_as_it_is_read_back_is_no_success(place: Place, between: Wire) -> None:
    content = os.urandom(MB)
    target = through(place, between)
    between.cut_down = MB // 2
    error = failed(target, "dump", content)
    assert error.kind == "cut"
    assert target.put("dump", io.BytesIO(content)) == measure("dump", content)
    between.cut_down = between.down + MB // 2
    with pytest.raises(TargetError) as unread:
        target.get("dump", io.BytesIO())
    assert unread.value.kind == "cut"


@dialled
def test_a_silent_server_is_waited_for_no_longer_than_agreed(place: Place, between: Wire) -> None:
    target = through(place, between)
    assert isinstance(target, SftpTarget | S3Target)
    between.swallow_after = MB // 2
    begun = time.monotonic()
    error = failed(replace(target, answer_s=0.5), "dump", os.urandom(MB))
    assert error.kind == "cut"
    assert time.monotonic() - begun < 5
    assert place.target.names() == []


@dialled
def test_nobody_there_is_told_as_unreachable(place: Place) -> None:
    with wire(place.port) as closed:
        port = closed.port
    error = failed(place.through(port), "dump", b"content")
    assert error.kind == "unreachable"
    assert error.again


@dialled
@pytest.mark.parametrize("way", ["flip_up", "flip_down"])
def test_an_octet_changed_on_its_way_is_found_out(place: Place, between: Wire, way: str) -> None:
    content = os.urandom(MB)
    setattr(between, way, MB // 2)
    target = through(place, between)
    assert isinstance(target, SftpTarget | S3Target)
    # An octet of a packet's length makes the other side wait for more, so that only the time limit tells.
    error = failed(replace(target, answer_s=1.0), "dump", content)
    assert error.kind == {"sftp": "cut", "s3": "damaged"}[place.kind]  # SSH would rather end than let one through
    assert error.again
    assert place.target.names() == []
    assert put_again(through(place, between), "dump", lambda: io.BytesIO(content), pause=never) == measure("dump", content)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False).returncode
    ):
        pytest.skip("a small filesystem cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _full(target: Target, small: Path) -> None:
    (small / "others").write_bytes(bytes(MB))
    error = failed(target, "dump", os.urandom(3 * MB))
    assert error.kind == "full"
    assert not error.again
    assert target.names() == [Entry("others", MB)]
    assert [path.name for path in small.iterdir()] == ["others"], "no partial takes the room"
    assert target.put("small", io.BytesIO(b"content")).bytes == 7


def test_a_full_folder_is_told(small: Path) -> None:
    _full(open_target(small.as_uri()), small)


@pytest.mark.slow
@pytest.mark.xdist_group("targets")
def test_a_full_server_is_told(small: Path, sshd: Sshd) -> None:
    _full(open_target(sshd.url(small)), small)


@pytest.mark.parametrize("place", KINDS[1:2], indirect=True)
def test_a_partial_that_may_not_be_removed_stays_unseen(place: Place, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the content's own"):
        place.adds_only.put("dump", _Unreadable(b"content"))
    (partial,) = (tmp_path / "target").iterdir()
    assert partial.name.startswith(".dump.")
    assert place.adds_only.names() == []
    assert place.adds_only.put("dump", io.BytesIO(b"content")) == measure("dump", b"content")


@every_kind
def test_what_killed_uploads_left_is_swept_once_it_is_old(place: Place, tmp_path: Path) -> None:
    if place.kind == "directory":
        left = tmp_path / "target" / "backups" / ".dump.0123456789abcdef.partial"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
    else:
        with pytest.raises(OSError, match="of the content's own"):
            place.adds_only.put("backups/dump", _Breaking(bytes(9 * MB)))
    place.target.put("backups/whole", io.BytesIO(b"content"))
    now = datetime.now(UTC)
    if place.kind != "s3":  # moto says of every upload that it began in 2010
        assert place.target.sweep(now - timedelta(days=1)) == 0
    assert place.target.sweep(now + timedelta(days=1)) == 1
    assert place.target.sweep(now + timedelta(days=1)) == 0
    assert place.target.names() == [Entry("backups/whole", 7)]
