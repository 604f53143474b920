"""`./keychest db upgrade`, and what other verbs need of a database before they use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from cli import place
from cli.backup_first import backup_first, note_first
from cli.words import MISCONFIGURED, UNAVAILABLE, Sorry
from config import DatabaseRole, SettingError, Settings
from core.store import schema
from core.store.db import make_engine


@click.group("db")
def db() -> None:
    """Look after the database."""


@db.command("upgrade")
@place.data_option
def upgrade_command(data: Path | None) -> None:
    """Bring the schema up to this version of KeyChest, after a backup that was proven."""
    settings = place.settings(data=data)
    place.make_private(settings.data)
    moved = upgrade(settings, say=print)
    print(f"The database was upgraded to {moved}." if moved else "The database is up to date. Nothing was changed.")


def upgrade(settings: Settings, say: Callable[[str], None] | None = None) -> str:
    """Migrate up, after a proven backup of what is there; the revision reached, "" when there was nothing to do. Raises Sorry."""
    with engine_for(settings, "migrate") as engine:
        newest = schema.newest_revision()
        if schema.revision(engine) == newest:
            return ""
        first = backup_first(settings, engine)
        if first and say:
            say(f"Backup {first.stored.ref} was made and proven before anything changes.")
        schema.upgrade(engine)
        if first:
            note_first(engine, first)
        return newest


def make_ready(settings: Settings, data: Path | None = None) -> None:
    """A schema as this version needs it: migrated in development, only compared in production. `data`: what --data said. Raises Sorry."""
    if not settings.production:
        upgrade(settings)
        return
    _require_newest(settings, data)


def require_ready(settings: Settings, data: Path | None = None) -> None:
    """For verbs that only look: nothing is made or migrated. Raises Sorry where there is no database, or one of another version."""
    url = make_url(settings.database("portal"))
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        look = "Look whether --data or DATABASE_URL names the right place."
        raise Sorry(f"There is no database at {url.database}. {look} Nothing was made.", UNAVAILABLE)
    _require_newest(settings, data)


def _require_newest(settings: Settings, data: Path | None) -> None:
    with engine_for(settings, "portal") as engine:
        found, newest = schema.revision(engine), schema.newest_revision()
    if found != newest:
        raise Sorry(
            f"The database {_shown(settings.database('portal'))} is at revision {found or 'none'}; this version of KeyChest "
            f"needs {newest}. Run {place.command('db upgrade', settings, data)}, then start again. Nothing was changed.",
            MISCONFIGURED,
        )


@contextmanager
def engine_for(settings: Settings, role: DatabaseRole) -> Iterator[sa.Engine]:
    """An engine that is put away afterwards. Raises Sorry, without the password in it, when the database does not answer."""
    try:
        url = settings.database(role)
        engine = make_engine(url)
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    except sa.exc.ArgumentError:
        raise Sorry("The database's address cannot be read. Write postgresql://user@host/name.", MISCONFIGURED) from None
    try:
        yield engine
    except sa.exc.OperationalError as error:
        raise Sorry(f"The database {_shown(url)} does not answer as it should: {str(error.orig).strip()}", UNAVAILABLE) from None
    finally:
        engine.dispose()


def _shown(url: str) -> str:
    """A database's address without its password, which may also stand among its options."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)
