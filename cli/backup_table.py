"""Backups as a person at the terminal reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table

from cli.backups_known import Known

_WORDS = {True: "[green]yes[/]", False: "[red]NO[/]", None: "not tried"}


def listing(backups: Sequence[Known]) -> None:
    """A table, newest first."""
    if not backups:
        print("There is no backup yet. `./keychest backup now` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for head in ("Made (UTC)", "Backup", "Restorable", "Proven (UTC)", "Fidelity", "Coverage", "Size", "Targets"):
        table.add_column(head, no_wrap=True, justify="right" if head in {"Fidelity", "Coverage", "Size", "Targets"} else "left")
    for each in backups:
        table.add_row(
            when(each.at), each.ref, _WORDS[each.restorable], when(each.proven_at), percent(each.fidelity), percent(each.coverage),
            size(each.size_bytes), str(len(each.targets)),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def showing(backup: Known) -> str:
    """One backup, line by line."""
    restorable = {True: "yes", False: "NO", None: "not tried yet"}[backup.restorable]
    tables, accounts = backup.manifest.get("tables", {}), backup.manifest.get("accounts", 0)
    rows = sum(int(table["rows"]) for table in tables.values())
    lines = {
        "Backup": f"{backup.ref} ({backup.engine}, {backup.kind})",
        "Made": f"{when(backup.at)} UTC",
        "Can be restored": f"{restorable}. {backup.why}".strip(),
        "Proven": f"{when(backup.proven_at)} UTC" if backup.proven_at else "never",
        "Fidelity": percent(backup.fidelity),
        "Coverage": percent(backup.coverage),
        "Holds": f"{accounts:,} accounts, {rows:,} rows in {len(tables)} tables, schema {backup.manifest.get('revision', '?')}",
        "Size": f"{size(backup.size_bytes)}{f', SHA-256 {backup.sha256}' if backup.sha256 else ''}",
        "At": ", ".join(backup.targets) or "no target",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def when(at: datetime | None) -> str:
    """A time, or a dash."""
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"


def percent(value: float | None) -> str:
    """A share with its three digits, or a dash."""
    return "-" if value is None else f"{value:.3f} %"


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1_000:  # noqa: PLR2004 - decimal units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:.1f} TB"
