"""The drill: a backup is restored into a scratch place, opened with the models that the portal uses, and compared with what was live.

*Fidelity*: restored rows and hashes against those taken from the live database in the backup's own transaction; must be 100.000 %.
*Coverage*: the share of accounts alive now that the restored copy holds. What is restored here is handed to no worker: it can send
nothing and scan nothing.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.backups.engine import BackupError, Engine
from core.backups.manifest import WHOLE, Manifest, fidelity
from core.backups.restore import Log, Restored, restore
from core.backups.stored import Stored
from core.seal import Identity
from core.store.backups import Alive
from core.store.base import Base
from core.store.db import Sessions, make_engine
from core.targets import Target

MODULES: Final = (
    "audit.tables",
    *(f"core.store.{name}" for name in ("accounts", "backups", "endpoints", "heartbeats", "incidents", "observations", "watches")),
)
"""Every module that declares tables: importing it puts them into the metadata."""
IN_HAND: Final = timedelta(minutes=1)
"""An account bears the time of its request: one made this shortly before the point may have been committed after it."""
_LOOKED_AT = 50
_TOLD = 20


@dataclass(frozen=True, slots=True)
class Proof:
    """What a drill found. `faults`: everything that was wrong, in words, worst first; none means that the backup is proven.

    `aged_*` count accounts that are older than one backup interval. What does not open holds nothing: both shares are 0.
    `undecided`: there was no room to tell, so nothing is known of the backup that was not known before.
    """

    fidelity: float | None
    coverage: float | None
    alive: int
    held: int
    aged_alive: int
    aged_held: int
    tables: int
    rows: int
    differences: tuple[str, ...]
    faults: tuple[str, ...]
    steps: tuple[str, ...]
    undecided: bool = False

    @property
    def passed(self) -> bool:
        """Whether the backup can be restored, and is what was live."""
        return not self.faults


@dataclass(slots=True)
class _Seen:
    """What was looked at in the restored copy while it was open."""

    installation: str = ""
    accounts: frozenset[str] = frozenset()
    faults: list[str] = field(default_factory=list)


def prove(
    engine: Engine,
    stored: Stored,
    targets: Sequence[Target],
    identities: Sequence[Identity],
    *,
    live: Manifest,
    alive: Sequence[Alive],
    aged_before: datetime,
    scratch: Path,
    log: Log,
    also: Callable[[Session], list[str]] | None = None,
) -> Proof:
    """Restore and compare.

    `live`: what was taken from the live database, never from the copy; `alive`: the accounts that are there now; `also` looks at the
    restored copy too and says what is wrong.

    Never raises for the backup's sake: what is wrong is a fault. The scratch place is empty afterwards.
    """
    into, seen = scratch / "restored", _Seen()
    restored: Restored | None = None
    faults: list[str] = []
    full = False
    try:
        restored = restore(
            engine,
            stored,
            targets,
            identities,
            into,
            manifest=live,
            scratch=scratch,
            log=log,
            faults=faults,
            look=lambda url: _look(url, seen, also),
        )
    except BackupError as error:
        full = error.trouble == "full"
        faults.insert(0, f"{error.trouble[0].upper()}{error.trouble[1:]}: {error}")
    finally:
        log.end()
        shutil.rmtree(into, ignore_errors=True)
    if restored is None:
        aged = sum(account.created_at <= aged_before for account in alive)
        return Proof(0.0, 0.0, len(alive), 0, aged, 0, 0, 0, (), tuple(faults), tuple(log.steps), undecided=full)
    return _proof(restored, seen, live=live, alive=alive, aged_before=aged_before, log=log)


def _proof(restored: Restored, seen: _Seen, *, live: Manifest, alive: Sequence[Alive], aged_before: datetime, log: Log) -> Proof:
    held = sum(account.ref in seen.accounts for account in alive)
    aged = [account for account in alive if account.created_at <= aged_before]
    aged_held = sum(account.ref in seen.accounts for account in aged)
    words = tuple(each.words for each in restored.different)
    faults = [*restored.faults, *seen.faults]
    if live.installation and seen.installation != live.installation:
        faults.insert(0, f"This is the backup of another installation ({seen.installation or 'none'}, not {live.installation}).")
    due = [account for account in alive if account.created_at <= live.at - IN_HAND]
    lost = sum(account.ref not in seen.accounts for account in due)
    if lost:
        faults.insert(0, f"{lost:,} of {len(due):,} accounts that are older than it are missing.")
    if not seen.accounts and live.accounts:
        faults.insert(0, f"It is empty: none of the {live.accounts:,} accounts that were live is in it.")
    if words:
        faults.append(f"It is not what was live: {'; '.join(words[:_TOLD])}.")
    return Proof(
        fidelity=fidelity(live.tables, restored.tables),
        coverage=share(held, len(alive)),
        alive=len(alive),
        held=held,
        aged_alive=len(aged),
        aged_held=aged_held,
        tables=len(restored.tables),
        rows=sum(table.rows for table in restored.tables),
        differences=words,
        faults=tuple(faults),
        steps=tuple(log.steps),
    )


def share(held: int, alive: int) -> float:
    """Per cent, with three digits; less than all is never rounded up to 100, and nothing to hold is all held."""
    return WHOLE if held >= alive else min(99.999, round(100 * held / alive, 3))


def _look(url: str, seen: _Seen, also: Callable[[Session], list[str]] | None) -> None:
    """Open the copy as the portal does: which installation it is, which accounts live in it, and some rows of every table there is."""
    for module in MODULES:
        importlib.import_module(module)
    engine = make_engine(url)
    try:
        names = set(sa.inspect(engine).get_table_names())
        with Sessions(engine).reading() as session:
            if "installation" in names:
                seen.installation = session.scalar(sa.text("SELECT ref FROM installation")) or ""
            if "accounts" in names:
                seen.accounts = frozenset(session.scalars(sa.text("SELECT ref FROM accounts WHERE deleted_at IS NULL")))
            for mapper in Base.registry.mappers:
                session.scalars(sa.select(mapper.class_).limit(_LOOKED_AT)).all()
            if also is not None:
                seen.faults += also(session)
    except SQLAlchemyError as error:
        seen.faults.append(f"The portal's own models cannot read it: {type(error).__name__}: {str(error).splitlines()[0]}.")
    finally:
        engine.dispose()


def aged_before(now: datetime, interval: timedelta) -> datetime:
    """Accounts made before this have seen a whole backup interval: they must be in the backup."""
    return now - interval
