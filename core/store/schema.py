"""The schema's way up: migrations, and whether they were run.

Alembic is imported by what uses it: with its templates it is a tenth of what starting the portal costs, and most processes need none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from core.store.db import WRITING
from core.store.sought import INDEXES

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def declared(name: str | None, kind: str, _parents: object) -> bool:
    """Whether the models declare a table or an index, for Alembic's comparison: they know nothing of the indexes of trigrams."""
    return kind not in {"table", "index"} or not (name or "").startswith(tuple(INDEXES.values()))


def newest_revision() -> str:
    """The revision that this code was written for."""
    return _scripts().get_current_head() or ""


def known_revisions() -> frozenset[str]:
    """Every revision that this code can migrate from."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def revision(engine: sa.Engine) -> str:
    """The revision that the database has; "" for an empty one."""
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def upgrade(engine: sa.Engine, to: str = "head") -> None:
    """Migrate up, in one transaction: a migration that fails leaves the database as it was."""
    from alembic import command

    config = _config()
    with engine.connect() as connection, connection.execution_options(**WRITING).begin():
        config.attributes["connection"] = connection
        command.upgrade(config, to)
