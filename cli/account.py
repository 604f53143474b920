"""`./keychest account list --json`: the accounts there are, with how many members and domains each has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import place
from cli.db import engine_for, require_ready
from core.net.text import visible
from core.store.db import Sessions
from core.store.operated import accounts_counted


@click.group("account")
def account() -> None:
    """Look after accounts."""


@account.command("list")
@click.option("--json", "as_json", is_flag=True, help="A list of ref, name, members, domains.")
@place.data_option
def list_command(as_json: bool, data: Path | None) -> None:
    """List the accounts, in the order in which they were made. Nothing is made or changed."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    with engine_for(settings, "portal") as engine, Sessions(engine).reading() as session:
        found = accounts_counted(session)
    if as_json:
        print(json.dumps([dataclasses.asdict(each) for each in found], indent=1))
        return
    table = Table("Account", "Name", "Members", "Domains", box=None)
    for each in found:
        table.add_row(each.ref, Text(_spelled(each.name)), str(each.members), str(each.domains))
    Console().print(table)


def _spelled(name: str) -> str:
    """What strangers wrote, with nothing in it that a terminal would obey."""
    return "".join(f"<{run}>" if hidden else run for hidden, run in visible(name))
