"""What a restore means for the log: its folder goes along, and the live installation's log is told that a backup was opened."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from config import Settings
from core.actions.logs import note_restored
from core.actions.policy import Actor
from core.backups.plan import Plan
from core.store import schema
from core.store.db import Sessions, make_engine

_STAYS = "The log's folder {} stays where it is; the restored installation needs it, by KEYCHEST_LOG_FOLDER."
_NONE = "There is no folder of the log at {}: without its last checkpoint the log cannot go on, only be followed by another one."


def carry_log(settings: Settings, plan: Plan, into: Path) -> str:
    """Copy the log's folder beside the restored database; what was done, in a sentence. Nothing that is there already is overwritten."""
    folder = settings.log_at(settings.data)
    if settings.log_folder or plan.postgresql:
        return _STAYS.format(folder)
    if not folder.is_dir():
        return _NONE.format(folder)
    for path in sorted(folder.rglob("*")):
        copy = into / "log" / path.relative_to(folder)
        if path.is_file() and not copy.exists() and path.relative_to(folder).parts[0] != "tmp":
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    return "The log's folder was copied beside it. The log signs nothing there until you say why: ./keychest log continue --reason ..."


def tell_log(plan: Plan, backup: str, *, same: bool) -> str:
    """Tell the live installation's log of the restore; why not, in a sentence, where there is none to tell."""
    if not plan.postgresql and not plan.database_file.is_file():
        return "There is no database any more whose log could be told of this restore."
    engine = make_engine(plan.database_url)
    try:
        if schema.revision(engine) != schema.newest_revision():
            return "The log was not told of this restore: its database is of another version."
        with Sessions(engine).writing() as session:
            note_restored(session, Actor(terminal=True), backup=backup, same=same, now=datetime.now(UTC))
    except SQLAlchemyError as error:
        return f"The log was not told of this restore: the database does not answer ({type(error).__name__})."
    finally:
        engine.dispose()
    return ""
