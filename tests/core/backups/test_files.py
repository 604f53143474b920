"""Room: what a backup or a drill writes never takes the last of it from the live database beside it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from core.backups.files import leave_room, open_sparing
from tests.disk import disk

MB = 1 << 20


@pytest.mark.slow
def test_what_grows_beside_the_database_leaves_room_for_it(tmp_path: Path) -> None:
    with disk(tmp_path / "small", 40 * MB) as small:
        with pytest.raises(OSError, match="No space") as error, open_sparing(small.path / "copy") as file:
            file.writelines(bytes(MB) for _ in range(41))
        assert error.value.errno == errno.ENOSPC
        assert 2 * MB <= shutil.disk_usage(small.path).free < 4 * MB, "a twentieth is left, and no more than that"


def test_what_fits_is_written_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    with open_sparing(tmp_path / "copy") as file:
        file.write(content[:17])
        file.write(content[17:])
    assert (tmp_path / "copy").read_bytes() == content


def test_more_than_the_disk_has_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        leave_room(tmp_path, shutil.disk_usage(tmp_path).total)
