"""`./keychest routes --json`: every route of the portal, and the permission or the reason by which it is open."""

from __future__ import annotations

import json
import subprocess
import sys

import click
from rich.console import Console
from rich.table import Table

from cli import place


@click.command("routes")
@click.option("--json", "as_json", is_flag=True, help="A list of rule, methods, permission, and reason where that is PUBLIC.")
def routes(as_json: bool) -> int:
    """List every route of the portal and who is let in."""
    words = (sys.executable, "-m", "portal.routes")  # a process of its own: the terminal does not know the portal's inside
    told = subprocess.run(words, cwd=place.PROJECT, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the words are ours
    if as_json:
        print(told, end="")
        return 0
    table = Table("Route", "Methods", "Who is let in", box=None)
    for each in json.loads(told):
        table.add_row(each["rule"], ", ".join(each["methods"]), each.get("reason", each["permission"].replace("_", " ")))
    Console().print(table, markup=False)
    return 0
