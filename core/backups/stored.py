"""A backup at its targets: one sealed file, and beside it one small file that says what is in it.

The small one comes last: it is the mark that the backup is whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from core.backups.engine import BackupError
from core.backups.files import measured, open_sparing
from core.backups.manifest import Manifest, UnreadableManifest, read_manifest
from core.targets import Target, TargetError, put_again

FOLDER: Final = "backups/"
_SEALED, _LABEL = ".db.age", ".json"
_LABEL_BYTES = 4_000_000
Pause = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Stored:
    """A backup as its small file tells of it.

    `size_bytes` and `sha256` are of the sealed file; where the engine keeps a repository of its own `sha256` is "".
    """

    ref: str
    name: str
    kind: str
    manifest: Manifest
    size_bytes: int
    sha256: str
    recipients: tuple[str, ...] = ()

    @property
    def sealed(self) -> str:
        """The sealed file's name at a target."""
        return f"{FOLDER}{self.name}{_SEALED}"

    @property
    def label(self) -> str:
        """The small file's name at a target."""
        return f"{FOLDER}{self.name}{_LABEL}"

    def to_bytes(self) -> bytes:
        """The small file. It holds counts and hashes, no row."""
        told = {
            "ref": self.ref, "name": self.name, "kind": self.kind, "bytes": self.size_bytes, "sha256": self.sha256,
            "recipients": list(self.recipients), "manifest": self.manifest.to_json(),
        }  # fmt: skip
        return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Stored:
        """Raises UnreadableManifest."""
        kept = read_manifest(content)
        try:
            return cls(
                ref=str(kept["ref"]),
                name=str(kept["name"]),
                kind=str(kept["kind"]),
                manifest=Manifest.from_json(_object(kept["manifest"])),
                size_bytes=int(kept["bytes"]),
                sha256=str(kept["sha256"]),
                recipients=tuple(str(each) for each in kept["recipients"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableManifest(f"It is damaged: {type(error).__name__} at {error}.") from None


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("manifest")
    return value


def name_of(at: datetime, ref: str) -> str:
    """What a backup's files are called: they sort by their point."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{ref}"


def put_backup(targets: Sequence[Target], stored: Stored, sealed: Path | None, *, pause: Pause) -> dict[str, str]:
    """Put a backup to every target; what went wrong at each, "" where it is whole there. Never raises for a target's sake."""
    became: dict[str, str] = {}
    for target in targets:
        try:
            if sealed is not None:
                _put_sealed(target, stored, sealed, pause)
            put_again(target, stored.label, lambda: io.BytesIO(stored.to_bytes()), pause=pause)
            became[target.shown] = ""
        except (TargetError, BackupError, OSError) as error:  # also of our own scratch file: what is whole elsewhere stays whole
            became[target.shown] = str(error)
    return became


def _put_sealed(target: Target, stored: Stored, sealed: Path, pause: Pause) -> None:
    kept = put_again(target, stored.sealed, lambda: sealed.open("rb"), pause=pause)
    if kept.sha256 != stored.sha256:
        raise BackupError("damaged", "What is kept there is not what was sent.")


def put_small(targets: Sequence[Target], name: str, content: bytes, *, pause: Pause) -> dict[str, str]:
    """Put a small file (kit, escrow) to every target, as `put_backup` does."""
    became: dict[str, str] = {}
    for target in targets:
        try:
            put_again(target, name, lambda: io.BytesIO(content), pause=pause)
            became[target.shown] = ""
        except TargetError as error:
            became[target.shown] = str(error)
    return became


def apart(targets: Sequence[Target]) -> Sequence[Target]:
    """Where kit and escrow go: every target but the first, so that no one loss takes both; the first, where it is the only one."""
    return targets[1:] or targets


def list_stored(target: Target) -> tuple[list[Stored], list[str]]:
    """The backups that are whole at a target, newest first, and what could not be read there, in words. Raises TargetError."""
    found, unreadable = [], []
    for entry in target.names(FOLDER):
        if entry.name.endswith(_LABEL):
            try:
                found.append(Stored.from_bytes(get_small(target, entry.name)))
            except (UnreadableManifest, BackupError) as error:
                unreadable.append(f"{entry.name}: {error}")
    return sorted(found, key=lambda each: each.manifest.at, reverse=True), unreadable


def get_small(target: Target, name: str) -> bytes:
    """A small file's content. Raises TargetError, and BackupError for one that is not small at all."""
    into = _Bounded(_LABEL_BYTES)
    target.get(name, into)
    return into.getvalue()


class _Bounded(io.BytesIO):
    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._most:
            raise BackupError("damaged", f"It is larger than {self._most:,} bytes.")
        return super().write(data)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sealed file that was fetched, and what was wrong with copies on the way: those at other targets, or this one itself."""

    path: Path
    whole: bool
    faults: tuple[str, ...]


def fetch(targets: Sequence[Target], stored: Stored, into: Path) -> Fetched:
    """Fetch and measure the copy at every target; keep the first whole one, or the first at all where none is whole.

    Raises BackupError ("missing", "truncated" or "damaged") where there is none. A copy that is not what was stored is kept only to
    measure what it holds: it is never called restorable.
    """
    faults: list[str] = []
    kept: Path | None = None
    whole = False
    for number, target in enumerate(targets):
        path = into / f"fetched-{number}"
        try:
            with open_sparing(path) as file:
                target.get(stored.sealed, file)
        except TargetError as error:
            path.unlink(missing_ok=True)
            faults.append(f"{target.shown}: {error}")
            continue
        size, digest = measured(path)
        if digest == stored.sha256:
            if kept is not None and not whole:
                kept.unlink()
                kept = None
            whole = True
        else:
            cut = size < stored.size_bytes
            trouble = "truncated" if cut else "damaged"
            words = f"it ends after {size:,} of {stored.size_bytes:,} bytes" if cut else "its SHA-256 is not that of what was stored"
            faults.append(f"{target.shown}: the copy is {trouble}: {words}")
        if kept is None:
            kept = path
        else:
            path.unlink()
    if kept is None:
        raise BackupError("missing", f"No target has it: {'; '.join(faults) or 'none is set'}.")
    return Fetched(kept, whole, tuple(faults))
