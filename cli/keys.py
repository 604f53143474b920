"""`./keychest keys rotate`: a new wrapping key, and every secret of the installation wrapped by it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cli import place
from cli.db import engine_for, require_ready
from cli.words import UNAVAILABLE, Sorry
from core.actions.factors import rewrap_secrets
from core.actions.policy import Actor
from core.envelope import FILE, KeyFile, NotOpenedError
from core.store.db import Sessions


@click.group("keys")
def keys() -> None:
    """Look after the keys that secrets are sealed with."""


@keys.command("rotate")
@place.data_option
def rotate_command(data: Path | None) -> None:
    """Make a new wrapping key, and wrap every secret by it. Nobody has to sign in again; older keys stay for older backups."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    found = KeyFile(settings.data / FILE)
    try:
        found.rotate()
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            wrapped = rewrap_secrets(session, Actor(terminal=True), keys=found, now=datetime.now(UTC))
    except (NotOpenedError, OSError) as error:
        raise Sorry(f"Not every secret could be wrapped anew: {error} Those that were not open as before.", UNAVAILABLE) from error
    secrets = "1 secret was" if wrapped == 1 else f"{wrapped} secrets were"
    print(f"A new wrapping key is in use, and {secrets} wrapped by it.")
    print("The recovery kit is renewed within five minutes; `./keychest backup now` makes one at once.")
