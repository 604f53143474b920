"""A folder of published files: each is there whole or not at all, and is written only when it says something else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.targets import Target, TargetError

LAST: Final = "index.html"
"""It is put last: what it links to is there by then."""


def in_order(files: Mapping[str, bytes]) -> list[str]:
    """The names, in the order in which they are put."""
    return sorted(files, key=lambda name: (name == LAST, name))


def put_files(folder: Path, files: Mapping[str, bytes]) -> int:
    """Write what is new or says something else; how many. What else is in the folder stays. Raises OSError."""
    put = 0
    for name in in_order(files):
        path = folder / name
        if _same(path, files[name]):
            continue
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(files[name])
        fresh.chmod(0o644)
        fresh.replace(path)
        put += 1
    return put


def put_to(target: Target, files: Mapping[str, bytes], there: dict[str, str]) -> int:
    """As `put_files`, at a target. `there`: digests of what was put before, by name, kept by the caller. Raises TargetError.

    A target overwrites nothing: what says something else is removed first, and is missing for a moment.
    """
    put = 0
    for name in in_order(files):
        digest = hashlib.sha256(files[name]).hexdigest()
        if there.get(name) == digest:
            continue
        try:
            target.put(name, io.BytesIO(files[name]))
        except TargetError as error:
            if error.kind != "exists":
                raise
            there.pop(name, None)  # from here on it may be missing, if nothing can be put
            target.remove(name)
            target.put(name, io.BytesIO(files[name]))
        there[name] = digest
        put += 1
    return put


def log_files(folder: Path, there: Mapping[str, str]) -> dict[str, bytes]:
    """The published logs' files by their names in the feed: tiles that are not there yet, and what changes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = f"log/{path.relative_to(folder).as_posix()}"
        if path.is_file() and not path.name.startswith(".") and ("tile" not in path.parts or name not in there):
            found[name] = path.read_bytes()
    return found


def _same(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
