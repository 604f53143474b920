"""The children's log files: kept short without their doing, and read when one dies."""

from __future__ import annotations

import shutil
from pathlib import Path

LOG_BYTES = 5_000_000
_TAIL_BYTES = 4_000
_TAIL_LINES = 5


def trim(path: Path, limit_bytes: int = LOG_BYTES) -> bool:
    """Move what is longer than `limit_bytes` to `NAME.log.1`, and say whether it was. The writer goes on in the emptied file."""
    path.touch(mode=0o600)
    long = path.stat().st_size > limit_bytes
    if long:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        path.with_name(f"{path.name}.1").chmod(0o600)
        with path.open("r+b") as log:
            log.truncate(0)  # a child opened it to append, so it goes on at the new end
    return long


def tail(path: Path, since_byte: int = 0) -> list[str]:
    """The last lines that were written from `since_byte` on, at most five, without control characters (a log may quote strangers)."""
    try:
        with path.open("rb") as log:
            log.seek(max(since_byte, path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = ("".join(letter for letter in line if letter.isprintable()) for line in text.splitlines())
    return [line for line in lines if line.strip()][-_TAIL_LINES:]
