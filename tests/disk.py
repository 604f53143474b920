"""A filesystem that is small, and can be made larger."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import eventually


@dataclass(frozen=True, slots=True)
class Disk:
    """A filesystem of its own that can be made larger."""

    path: Path

    def resize(self, size: int) -> None:
        subprocess.run(("mount", "-o", f"remount,size={size}", str(self.path)), check=True)

    def fill(self) -> None:
        """Leave no room. What is written meanwhile may be in the way of that: then it is tried with what there is then."""
        eventually(lambda: not subprocess.run(("mount", "-o", f"remount,size={self.used()}", str(self.path)), check=False).returncode)

    def used(self) -> int:
        return shutil.disk_usage(self.path).used


@contextlib.contextmanager
def disk(path: Path, size: int) -> Iterator[Disk]:
    """An empty filesystem at `path`."""
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a filesystem that is small")
    mounted = subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)), check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a filesystem that is small cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(("umount", str(path)), check=True)


def assert_told_as_full(words: str) -> None:
    """A sentence for operators, without numbers of the kernel's."""
    assert any(said in words for said in ("No space left on device", "disk is full", "no room left"))
    assert "Errno" not in words
