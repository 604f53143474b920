"""`./keychest restore BACKUP --into NEW`: a backup into a new place. Works without the database that was lost: the targets tell."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import place
from cli.backup import COULD_NOT, REFUSED, json_option, plan_of
from cli.backups_known import stored_at
from cli.restore_log import carry_log, tell_log
from core.backups import keys, kit
from core.backups.engine import BackupError
from core.backups.files import clear_scratch, drop_scratch, make_place, make_scratch
from core.backups.plan import Plan
from core.backups.restore import Log, Restored, restore
from core.backups.stored import Stored, apart, get_small
from core.seal import Identity
from core.targets import TargetError

_COULD_NOT = frozenset({"wrong key", "missing", "tool"})


@click.command("restore")
@click.argument("ref", metavar="BACKUP")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A new folder. One that holds anything is refused, always.")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="The offline recovery key. In development it is found.")
@place.data_option
@json_option
def restore_command(ref: str, into: Path, key: Path | None, data: Path | None, as_json: bool) -> int:
    """Restore BACKUP (its id, or newest) into NEW. Exit 0 all is as it was, 1 refused or not the same (says why), 2 could not run."""
    settings, plan = plan_of(data)
    into = into.absolute()
    try:
        make_place(into)
        stored = find(plan, ref)
        opened_with = identities(plan, key) if stored.sha256 or key else []
        restored = bring_back(plan, stored, opened_with, into)
        laid = lay_out_kit(plan, opened_with, into)
        log = carry_log(settings, plan, into)
    except BackupError as error:
        print(json.dumps({"error": error.trouble, "message": str(error)}) if as_json else f"{error}", file=sys.stderr)
        if into.is_dir() and not any(into.iterdir()):
            into.rmdir()
        return COULD_NOT if error.trouble in _COULD_NOT else REFUSED
    wrong = [*restored.faults, *(each.words for each in restored.different)]
    untold = tell_log(plan, stored.ref, same=not wrong)
    told = {"id": stored.ref, "into": str(into), "same": not wrong, "why": wrong, "migrated_from": restored.migrated_from}
    told |= {"kit": laid, "log": log, "not_told": untold}
    lines = [*_lines(plan, stored, restored, into, wrong), laid, log, *([untold] if untold else [])]
    print(json.dumps(told, indent=1) if as_json else "\n".join(lines))
    return REFUSED if wrong else 0


def find(plan: Plan, ref: str) -> Stored:
    """The backup at the targets, by its reference. Raises BackupError."""
    found, notes = stored_at(plan)
    for stored, _ in found:
        if ref in {"newest", stored.ref}:
            return stored
    raise BackupError("missing", f"No target has a backup {ref}. {' '.join(notes)}".strip())


def identities(plan: Plan, key: Path | None) -> list[Identity]:
    """The key that was given; else, in development, the one under the data folder; else the drill key, where it is. Raises BackupError."""
    here = plan.data / keys.RECOVERY_KEY
    if key is not None:
        return keys.read_identities(key)
    if here.is_file() and not plan.production:
        return keys.read_identities(here)
    raise BackupError("wrong key", "Name the file of the offline recovery key with --key. Nothing was restored.")


def bring_back(plan: Plan, stored: Stored, opened_with: Sequence[Identity], into: Path) -> Restored:
    """Restore and compare with the backup's own label. Raises BackupError."""
    clear_scratch(plan.data, "restore-")
    scratch = make_scratch(plan.data, f"restore-{stored.ref}", passable=plan.postgresql)
    try:
        log = Log(time.monotonic, lambda step: print(f"{step} …", file=sys.stderr))
        engine = plan.engine()
        return restore(engine, stored, plan.targets(), opened_with, into, manifest=stored.manifest, scratch=scratch, log=log)
    finally:
        drop_scratch(scratch)


def lay_out_kit(plan: Plan, opened_with: Sequence[Identity], into: Path) -> str:
    """Put the keys and settings of the newest recovery kit beside the restored database; what was done, in a sentence."""
    if not opened_with:
        return "The recovery kit stays sealed: name the offline key with --key to lay its keys and settings beside it."
    said = "There is no recovery kit at the targets: everybody has to sign in again, and settings are to be set anew."
    for target in apart(plan.targets()):
        try:
            names = [entry.name for entry in target.names("kits/") if entry.name.endswith(".age")]
            if names:
                paths = kit.lay_out(kit.open_kit(get_small(target, names[-1]), opened_with), into)
                return f"The recovery kit was opened: {', '.join(str(path.relative_to(into)) for path in paths)} lie beside it."
        except (TargetError, BackupError) as error:
            said = f"The recovery kit was not laid out: {error}"
    return said


def _lines(plan: Plan, stored: Stored, restored: Restored, into: Path, wrong: Sequence[Any]) -> list[str]:
    manifest = stored.manifest
    holds = f"{manifest.accounts:,} accounts, {manifest.rows:,} rows"
    lines = [f"Backup {stored.ref} of {manifest.at:%Y-%m-%d %H:%M} UTC is restored in {into}: {holds}."]
    if restored.migrated_from:
        lines.append(f"Its schema was {restored.migrated_from}, older than this version's: it was migrated in the new place.")
    if wrong:
        lines += ["It is NOT what was backed up:", *(f"  {each}" for each in wrong)]
    else:
        lines.append(f"All {len(restored.tables)} tables are as they were.")
    if plan.postgresql:
        lines.append("The new cluster is closed to the network. docs/runbook.md says how to open it and set DATABASE_URL to it.")
    else:
        lines.append(f"Start the portal on it: ./keychest up --data {shlex.quote(str(into))}")
    return lines
