"""What a database engine does for backups. Two there are: `sqlite.py` copies the file, `pgbackrest.py` orchestrates pgBackRest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from core.backups.manifest import Manifest, Table

Trouble = Literal[
    "wrong key", "damaged", "truncated", "missing", "missing WAL", "wrong database", "empty", "unknown schema", "full", "refused", "tool"
]


class BackupError(Exception):
    """A backup cannot be made or restored. `trouble` names why in one word or two; the message is a sentence for operators.

    "refused": what was asked would overwrite something, or may not be done here; "tool": an engine's own program failed.
    """

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken: its manifest, and the plain copy in the scratch folder (None where the engine keeps a repository of its own).

    `stored_bytes` is what the engine's repository took for it, 0 where there is a copy.
    """

    manifest: Manifest
    copy: Path | None
    stored_bytes: int = 0


class Engine(Protocol):
    """A database that can be backed up, and what is restored of it."""

    @property
    def name(self) -> str:
        """Either "sqlite" or "postgresql"."""
        ...

    def take(self, scratch: Path, *, now: Callable[[], datetime], full: bool) -> Taken:
        """Copy what is committed at one point, with the manifest of the very same point. Writers go on. Raises BackupError."""
        ...

    def restore(self, manifest: Manifest, copy: Path | None, into: Path) -> None:
        """Make `into`, which must not exist or be empty, a place that holds the backup. Raises BackupError, "refused" for any other."""
        ...

    def opened(self, into: Path) -> AbstractContextManager[str]:
        """The SQLAlchemy URL of what `restore` put there, for as long as the block runs; nobody else can reach it. Raises BackupError."""
        ...

    def tidy(self, kept: Collection[str]) -> None:
        """Remove from the engine's own repository what none of the labels in `kept` needs. Raises BackupError."""
        ...

    def tables(self, url: str) -> tuple[Table, ...]:
        """Counts and hashes of all tables of a database, as `take` counted and hashed them. Raises BackupError."""
        ...
