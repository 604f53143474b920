"""What is put at a target is there in the end, whatever fails on the way."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from core.status.placing import put_to
from core.targets import Stored, TargetError
from core.targets.directory import DirectoryTarget


@dataclass(frozen=True, slots=True)
class Cut(DirectoryTarget):
    """A target whose line is cut after it removed something."""

    def put(self, name: str, content: BinaryIO) -> Stored:
        if not (self.root / name).exists():
            raise TargetError("cut", "The line was cut.")
        return DirectoryTarget.put(self, name, content)


def test_a_file_that_was_removed_and_not_put_is_put_again_though_it_says_what_it_said_before(tmp_path: Path) -> None:
    there: dict[str, str] = {}
    target = DirectoryTarget(tmp_path)
    assert put_to(target, {"index.html": b"one"}, there) == 1
    with pytest.raises(TargetError, match="cut"):
        put_to(Cut(tmp_path), {"index.html": b"two"}, there)
    assert not (tmp_path / "index.html").exists()
    assert put_to(target, {"index.html": b"one"}, there) == 1
    into = io.BytesIO()
    target.get("index.html", into)
    assert into.getvalue() == b"one"
