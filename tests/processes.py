"""Looking at real processes: found by a mark in their environment or words, so that a test never meets another's."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def marked(*marks: str) -> dict[int, str]:
    """Live processes whose environment or command line holds one of `marks` (Valkey writes its title over its environment)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if any(mark.encode() in told for mark in marks) and "\nState:\tZ" not in (entry / "status").read_text():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended while we looked
            continue
    return found


def eventually(look: Callable[[], T], *, within_s: float = 20.0) -> T:
    """What `look` gives as soon as it is true. Fails when that takes too long."""
    end = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < end, f"still {seen!r} after {within_s} s"
        time.sleep(0.02)
    return seen
