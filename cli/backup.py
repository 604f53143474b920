"""`./keychest backup now|list|show|keygen|worker`: make one, see what there is, make the offline key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from cli import place
from cli.backup_table import listing, showing
from cli.backups_known import Known, known, known_one
from cli.db import make_ready
from cli.words import MISCONFIGURED, Sorry
from config import SettingError, Settings
from core.backups.engine import BackupError
from core.backups.plan import Plan
from core.store.backups import Backup
from core.store.db import Sessions, make_engine

REFUSED, COULD_NOT = 1, 2
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("backup")
def backup() -> None:
    """Make backups, and see what there is."""


@backup.command("now")
@place.data_option
@json_option
def now(data: Path | None, as_json: bool) -> int:
    """Make a backup here and now, and prove it. Exit 0 proven, 1 refused or not proven, 2 could not run."""
    settings, plan = plan_of(data)
    make_ready(settings, data)
    begun = datetime.now(UTC)
    code = once(settings, "back_up", "now")
    made = _newest(plan, begun)
    if made is None:
        print("No backup was made: another one is running, or its job could not start. `backup list` shows what there is.", file=sys.stderr)
        return COULD_NOT
    if made.state != "stored":
        print(json.dumps(made.to_json()) if as_json else f"The backup failed. {made.why}")
        return REFUSED
    if not as_json:
        print(f"Backup {made.ref} is stored. Now it is restored and compared.")
    code = once(settings, "drill", made.ref)
    proven = known_one(plan, made.ref) or made
    print(json.dumps(proven.to_json(), indent=1) if as_json else showing(proven))
    return COULD_NOT if code else 0 if proven.restorable else REFUSED


@backup.command("list")
@place.data_option
@json_option
def list_command(data: Path | None, as_json: bool) -> int:
    """All stored backups, newest first. With the database gone, those that lie at the targets."""
    _, plan = plan_of(data)
    found = known(plan)
    for line in found.notes:
        print(line, file=sys.stderr)
    if as_json:
        print(json.dumps([each.to_json() for each in found.backups], indent=1))
    else:
        listing(found.backups)
    return 0


@backup.command("show")
@click.argument("ref", default="newest")
@place.data_option
@json_option
def show(ref: str, data: Path | None, as_json: bool) -> int:
    """One backup: what is in it, where it lies, whether it can be restored and since when that is proven."""
    _, plan = plan_of(data)
    found = known_one(plan, ref)
    if found is None:
        print(f"There is no backup {ref}. `./keychest backup list` shows them all.", file=sys.stderr)
        return REFUSED
    print(json.dumps(found.to_json() | {"manifest": found.manifest}, indent=1) if as_json else showing(found))
    return 0


@backup.command("keygen")
@json_option
def keygen(as_json: bool) -> None:
    """Make the offline recovery key. Its private half is printed once and kept nowhere: write it down, away from this machine."""
    from core.seal import make_identity, recipient_of

    identity = make_identity()
    public = recipient_of(identity)
    if as_json:
        print(json.dumps({"private": identity, "public": public}))
        return
    print("# KeyChest recovery key. Keep this file offline: it opens every backup, recovery kit and escrow.")
    print(f"# public key: {public}\n{identity}")
    print(f"Set KEYCHEST_BACKUP_RECOVERY_KEY={public} on the server. The private half was not kept here.", file=sys.stderr)


@backup.command("worker")
@place.data_option
def worker(data: Path | None) -> None:
    """Work on PostgreSQL's backups, as the user whom the database's files belong to. Runs until SIGTERM; for a service of its own."""
    settings = place.settings(data=data)
    os.execve(sys.executable, (sys.executable, "-m", "jobs.worker", "backup"), place.environment(settings))  # noqa: S606 - ours


def plan_of(data: Path | None) -> tuple[Settings, Plan]:
    """Settings, and what backups are made with. Raises Sorry."""
    settings = place.settings(data=data)
    place.make_private(settings.data)
    try:
        return settings, Plan(**settings.backups())
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None


def once(settings: Settings, *words: str) -> int:
    """Run a job once, in a process of its own, as a worker would."""
    return subprocess.run((sys.executable, "-m", "jobs.once", *words), env=place.environment(settings), check=False).returncode  # noqa: S603


def _newest(plan: Plan, since: datetime) -> Known | None:
    """The try that began since then."""
    engine = make_engine(plan.database_url)
    try:
        with Sessions(engine).reading() as session:
            row = session.scalar(sa.select(Backup).where(Backup.began_at >= since).order_by(Backup.id.desc()).limit(1))
            return Known.of(row) if row is not None else None
    finally:
        engine.dispose()


def told(error: BackupError) -> dict[str, Any]:
    """A refusal as JSON."""
    return {"error": error.trouble, "message": str(error)}
