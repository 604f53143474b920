"""The backups there are: by the database, and where that does not answer, by what lies at the targets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from core.backups.engine import BackupError
from core.backups.plan import Plan
from core.backups.stored import Stored, list_stored
from core.store.backups import Backup, backup_by_ref, backups
from core.store.db import Sessions, make_engine
from core.targets import TargetError

UNKNOWN = "The database does not answer, so what drills found is not known. Restore it to see."


@dataclass(frozen=True, slots=True)
class Known:
    """One backup. `restorable` is None where no drill tells; `targets` are those at which it is whole."""

    ref: str
    at: datetime | None
    engine: str
    kind: str
    state: str
    targets: tuple[str, ...]
    size_bytes: int
    sha256: str
    restorable: bool | None
    why: str
    proven_at: datetime | None
    fidelity: float | None
    coverage: float | None
    manifest: dict[str, Any]

    @classmethod
    def of(cls, row: Backup) -> Known:
        """As the database knows it."""
        return cls(
            row.ref, row.at, row.engine, row.kind, row.state, tuple(shown for shown, error in row.targets.items() if not error),
            row.size_bytes, row.sha256, row.restorable, row.error or row.why or "No drill has told yet.", row.proven_at, row.fidelity,
            row.coverage, row.manifest,
        )  # fmt: skip

    @classmethod
    def at_target(cls, stored: Stored, shown: tuple[str, ...]) -> Known:
        """As its label at the targets tells: what a drill found stands in the database alone."""
        return cls(
            stored.ref, stored.manifest.at, stored.manifest.engine, stored.kind, "stored", shown, stored.size_bytes, stored.sha256, None,
            UNKNOWN, None, None, None, stored.manifest.to_json(),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As `backup list --json` promises it. `restorable` is false until a drill has proven it."""
        return {
            "id": self.ref, "at": _iso(self.at), "engine": self.engine, "targets": list(self.targets), "bytes": self.size_bytes,
            "sha256": self.sha256, "restorable": self.restorable is True, "why": self.why, "proven_at": _iso(self.proven_at),
            "fidelity": self.fidelity, "coverage": self.coverage,
        }  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is, newest first, and what else to say."""

    backups: tuple[Known, ...]
    notes: tuple[str, ...] = ()


def known(plan: Plan) -> Found:
    """All stored backups."""
    engine = make_engine(plan.database_url) if _is_there(plan) else None
    if engine is not None:
        try:
            with Sessions(engine).reading() as session:
                return Found(tuple(Known.of(row) for row in backups(session)))
        except sa.exc.DatabaseError as error:
            note = f"The database does not answer ({str(error.orig).strip()}). These are the backups that lie at the targets."
        finally:
            engine.dispose()
    else:
        note = "There is no database here. These are the backups that lie at the targets."
    at_targets, notes = stored_at(plan)
    return Found(tuple(Known.at_target(stored, shown) for stored, shown in at_targets), (note, *notes))


def known_one(plan: Plan, ref: str) -> Known | None:
    """The backup with this reference, or the newest."""
    if _is_there(plan):
        engine = make_engine(plan.database_url)
        try:
            with Sessions(engine).reading() as session:
                row = backup_by_ref(session, ref)
                if row is not None:
                    return Known.of(row)
        except sa.exc.DatabaseError:
            pass  # the targets are asked instead
        finally:
            engine.dispose()
    found = known(plan).backups
    return next((each for each in found if ref in {"newest", each.ref}), None)


def stored_at(plan: Plan) -> tuple[list[tuple[Stored, tuple[str, ...]]], list[str]]:
    """What lies whole at the targets, newest first, with the targets that have it; and what could not be read, in words."""
    found: dict[str, tuple[Stored, tuple[str, ...]]] = {}
    notes: list[str] = []
    try:
        targets = plan.targets()
    except BackupError as error:
        return [], [str(error)]
    for target in targets:
        try:
            here, unreadable = list_stored(target)
        except TargetError as error:
            notes.append(f"{target.shown}: {error}")
            continue
        notes += [f"{target.shown}: {each}" for each in unreadable]
        for stored in here:
            found[stored.ref] = (stored, (*found.get(stored.ref, (stored, ()))[1], target.shown))
    return sorted(found.values(), key=lambda pair: pair[0].manifest.at, reverse=True), notes


def _is_there(plan: Plan) -> bool:
    """Whether there is a database to ask; SQLite would make an empty one by being asked."""
    return plan.postgresql or plan.database_file.is_file()
