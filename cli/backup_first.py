"""A proven backup before the schema changes. The tables that keep book of backups may not be there yet, so it needs none of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from cli.words import Sorry
from config import Settings
from core.actions.backups import adopt_backup, begin_drill, record_drill
from core.actions.policy import Actor
from core.backups import keys
from core.backups.drill import Proof, aged_before, prove
from core.backups.engine import BackupError
from core.backups.files import clear_scratch, drop_scratch, make_scratch
from core.backups.make import make
from core.backups.plan import Plan
from core.backups.restore import Log
from core.backups.stored import Stored, name_of
from core.store.backups import Backup, alive_accounts, backup_by_ref, newest_proven
from core.store.base import new_ref
from core.store.db import Sessions

RECENT: Final = timedelta(hours=1)
TERMINAL: Final = Actor(terminal=True)


@dataclass(frozen=True, slots=True)
class First:
    """The backup that was made before, for the book that exists afterwards."""

    stored: Stored
    targets: dict[str, str]
    proof: Proof


def backup_first(settings: Settings, engine: sa.Engine) -> First | None:
    """Make a backup of a database that holds something, and prove it. None where nothing can be lost, or it was proven within the hour.

    Raises Sorry where it cannot be made or does not prove: then nothing was changed.
    """
    names = set(sa.inspect(engine).get_table_names())
    if not names or _proven_lately(engine, names):
        return None
    plan = Plan(**settings.backups())
    if plan.postgresql and not plan.pgbackrest_config and not plan.production:
        return None
    try:
        first = _make(plan, engine)
    except BackupError as error:
        raise Sorry(f"A migration takes a proven backup first, and that failed: {error} Nothing was changed.") from None
    if not first.proof.passed:
        raise Sorry(f"The backup before the migration was not proven: {' '.join(first.proof.faults)} Nothing was changed.")
    return first


def note_first(engine: sa.Engine, first: First) -> None:
    """Enter it into the book, now that there is one."""
    now = datetime.now(UTC)
    with Sessions(engine).writing() as session:
        ref = adopt_backup(session, TERMINAL, stored=first.stored, targets=first.targets, now=now)
        backup = backup_by_ref(session, ref)
        if backup is not None:
            drill = begin_drill(session, TERMINAL, backup=backup, now=now)
            record_drill(session, TERMINAL, drill_id=drill.id, proof=first.proof, now=now)


def _proven_lately(engine: sa.Engine, names: set[str]) -> bool:
    if Backup.__tablename__ not in names or engine.dialect.name != "postgresql":
        return False
    with Sessions(engine).reading() as session:
        proven = newest_proven(session)
        return proven is not None and proven.at is not None and datetime.now(UTC) - proven.at < RECENT


def _make(plan: Plan, engine: sa.Engine) -> First:
    ref = new_ref()
    clear_scratch(plan.data, "first-")
    scratch = make_scratch(plan.data, f"first-{ref}", passable=plan.postgresql)
    try:
        stored, targets = make(
            plan, ref=ref, name=name_of(datetime.now(UTC), ref), kind="migration", scratch=scratch, now=lambda: datetime.now(UTC),
            pause=time.sleep, say=_quiet, keep=_quiet,
        )  # fmt: skip
        with Sessions(engine).reading() as session:
            alive = alive_accounts(session)
        proof = prove(
            plan.engine(), stored, plan.targets(), [keys.drill_identity(plan.data)], live=stored.manifest, alive=alive,
            aged_before=aged_before(datetime.now(UTC), timedelta()), scratch=scratch, log=Log(time.monotonic, _quiet),
        )  # fmt: skip
    finally:
        drop_scratch(scratch)
    return First(stored, targets, proof)


def _quiet(_what: object) -> None:
    """Nobody watches a migration step by step."""
