"""Restoring: fetch, open the seal, put it into a new place, compare. The one way back, used by `./keychest restore` and by every drill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from core import seal
from core.backups.engine import BackupError, Engine
from core.backups.files import open_sparing
from core.backups.manifest import Difference, Manifest, Table, differences
from core.backups.stored import Stored, fetch
from core.seal import Identity
from core.store import schema
from core.store.db import make_engine
from core.targets import Target

OPENED: Final = "opened"
Seconds = Callable[[], float]
Say = Callable[[str], None]


@dataclass(slots=True)
class Log:
    """What was done and how long it took, step by step: `say` hears each step as it begins."""

    seconds: Seconds
    say: Say
    steps: list[str] = field(default_factory=list)
    _step: str = ""
    _began_s: float = 0.0

    def begin(self, step: str) -> None:
        """A step begins; the one before has ended."""
        self.end()
        self._step, self._began_s = step, self.seconds()
        self.say(step)

    def end(self) -> None:
        """The step at hand has ended."""
        if self._step:
            self.steps.append(f"{self._step}: {self.seconds() - self._began_s:.2f} s")
            self._step = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored: its tables as they were found, where they differ from `manifest`, and what was wrong on the way, worst first.

    `migrated_from` is the revision of an older schema that was brought up in the new place, "" for one of today.
    """

    tables: tuple[Table, ...]
    different: tuple[Difference, ...]
    faults: tuple[str, ...]
    migrated_from: str = ""


def restore(
    engine: Engine,
    stored: Stored,
    targets: Sequence[Target],
    identities: Sequence[Identity],
    into: Path,
    *,
    manifest: Manifest,
    scratch: Path,
    log: Log,
    faults: list[str] | None = None,
    look: Callable[[str], None] | None = None,
) -> Restored:
    """Restore `stored` into the new place `into` and compare it with `manifest`; `look` is shown its URL before it is closed.

    A copy that is not what was stored goes on to be measured, and is told among the faults. Raises BackupError where nothing can be
    opened at all; what was wrong until then stands in `faults`, where one is given.
    """
    faults = [] if faults is None else faults
    copy: Path | None = None
    plain = manifest
    if stored.sha256:
        log.begin("Fetch")
        fetched = fetch(targets, stored, scratch)
        faults += fetched.faults
        if not fetched.whole:  # nothing is hidden: what it holds is measured all the same
            plain = replace(manifest, plain_bytes=0, plain_sha256="")
        log.begin("Open the seal")
        copy = scratch / "restored-copy"
        unseal(fetched.path, copy, identities, sealed_bytes=stored.size_bytes)
        fetched.path.unlink()
    log.begin("Restore")
    plain = _with_true_copy(engine, plain, copy, into, faults)
    if copy is not None:
        copy.unlink(missing_ok=True)
    log.begin("Open and compare")
    with engine.opened(into) as url:
        found = engine.tables(url)
        different = differences(manifest.tables, found)
        if not found:
            raise BackupError("empty", "The restored database has no table at all.")
        migrated_from, more = _as_today(url)
        faults += more
        if look is not None:
            look(url)
    log.end()
    return Restored(found, different, tuple(faults), migrated_from)


def unseal(sealed: Path, into: Path, identities: Sequence[Identity], *, sealed_bytes: int = 0) -> None:
    """Open a sealed file. Raises BackupError: "wrong key", "damaged" or "truncated"."""
    try:
        with sealed.open("rb") as file, open_sparing(into) as plain:
            seal.unseal(file, plain, identities, sealed_bytes=sealed_bytes)
    except seal.SealError as error:
        raise BackupError(error.trouble, str(error)) from error


def _with_true_copy(engine: Engine, manifest: Manifest, copy: Path | None, into: Path, faults: list[str]) -> Manifest:
    """Restore; where the plain file is not the one that was backed up, say so and restore it to be measured."""
    try:
        engine.restore(manifest, copy, into)
    except BackupError as error:
        if copy is None or error.trouble not in {"damaged", "truncated"} or not manifest.plain_sha256:
            raise
        faults.append(str(error))
        manifest = replace(manifest, plain_bytes=0, plain_sha256="")
        engine.restore(manifest, copy, into)
    return manifest


def _as_today(url: str) -> tuple[str, list[str]]:
    """Bring an older schema up in the new place; which revision it was, and what is wrong with it."""
    engine = make_engine(url)
    try:
        found = schema.revision(engine)
        if found == schema.newest_revision():
            return "", []
        if found not in schema.known_revisions():
            newer = (
                f"The schema is at revision {found or 'none'}, which this version of KeyChest does not know. Use the version it came from."
            )
            return "", [newer]
        schema.upgrade(engine)
    except DatabaseError as error:
        return "", [f"The schema cannot be read: {str(error.orig).strip()}."]
    finally:
        engine.dispose()
    return found, []


def table_names(url: str) -> frozenset[str]:
    """The tables that a database has."""
    engine = make_engine(url)
    try:
        return frozenset(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()
