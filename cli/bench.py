"""`./keychest bench WHAT`: what things cost on this machine, printed as ratios. Nothing passes or fails."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

from cli.words import UNAVAILABLE, Sorry

# what is measured -> what --help says of it; each is bench/<name>.py with a function `main(arguments)`
BENCHES: dict[str, str] = {
    "scan": "A scan, whole and in parts, beside handshakes alone.",
    "clock": "Handing out what is due.",
    "pages": "Pages of an account of 100,000 names, beside an empty page. ARGUMENTS: names, rounds, sqlite or postgresql.",
    "auth": "Doors, for people who are known here and for others. ARGUMENTS: rounds.",
    "audit": "The log: appends, entries, publishing, verifying, pages. ARGUMENTS: seconds, entries.",
    "status": "A storm on the status page, and what others notice of it. ARGUMENTS: seconds, connections.",
    "backup": "Backup and drill, and what a writer notices of them. ARGUMENTS: megabytes.",
    "exports": "An export, beside reading its rows raw. ARGUMENTS: names, observations, sqlite or postgresql.",
}


@click.group("bench")
def bench() -> None:
    """Measure what things cost here. Prints ratios; nothing passes or fails."""


def _add(name: str, says: str) -> None:
    @bench.command(name, help=says, short_help=says.partition(".")[0] + ".")
    @click.argument("arguments", nargs=-1)
    def run(arguments: tuple[str, ...]) -> None:
        _main_of(name)(list(arguments))


def _main_of(name: str) -> Callable[[list[str]], None]:
    """What measures. Raises Sorry where it, or a package that only development needs, is not installed."""
    try:
        found: Callable[[list[str]], None] = importlib.import_module(f"bench.{name}").main
    except ModuleNotFoundError as error:
        missing = error.name or "a module"
        if missing.partition(".")[0] in {"bench", "tests"}:
            raise Sorry(
                f"This installation has no {missing}: benchmarks come with the source code. Nothing was measured.", UNAVAILABLE
            ) from None
        raise Sorry(
            f"The package {missing} is not installed; benchmarks need those of development. Run pip install -r requirements-dev.txt, "
            "then this again. Nothing was measured.",
            UNAVAILABLE,
        ) from None
    return found


for _name, _says in BENCHES.items():
    _add(_name, _says)
