"""`./keychest drill [BACKUP] [--key FILE]`: restore a backup into a scratch place and compare it, here and now."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli import place
from cli.backup import COULD_NOT, REFUSED, json_option, once, plan_of
from cli.backup_table import showing
from cli.backups_known import known_one
from cli.db import make_ready


@click.command("drill")
@click.argument("ref", metavar="[BACKUP]", default="newest")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="The offline recovery key: opens backup and recovery kit.")
@place.data_option
@json_option
def drill(ref: str, key: Path | None, data: Path | None, as_json: bool) -> int:
    """Prove a backup, the newest by default. Exit 0 proven, 1 not proven (says why), 2 could not run."""
    settings, plan = plan_of(data)
    make_ready(settings, data)
    before = known_one(plan, ref)
    if before is None or before.state != "stored":
        print(f"There is no stored backup {ref}. `./keychest backup list` shows them all.", file=sys.stderr)
        return COULD_NOT
    if key is not None and not key.is_file():
        print(f"There is no key file {key}. Nothing was done.", file=sys.stderr)
        return COULD_NOT
    code = once(settings, "drill", before.ref, *((str(key.resolve()),) if key else ()))
    after = known_one(plan, before.ref)
    if code or after is None or after.proven_at == before.proven_at:
        print("The drill did not run: another one is running, or its job could not start. What was known before stands.", file=sys.stderr)
        return COULD_NOT
    print(json.dumps(after.to_json(), indent=1) if as_json else showing(after))
    return 0 if after.restorable else REFUSED
