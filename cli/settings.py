"""`./keychest settings`: everything that can be set, with what it is now; `--markdown` writes docs/settings.md."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click

from cli import place
from config import Settings
from core.setting_readers import written

_HEAD = """# Settings

KeyChest reads its settings from the environment when a process starts. Generated from `config.py` by `./keychest settings --markdown`.

An unknown `KEYCHEST_*` variable stops the start, so that a misspelt one is noticed. A setting marked *secret* can also be read from a file:
set `NAME_FILE=/path/to/file` instead of `NAME`. `--port`, `--host` and `--data` of `./keychest up` win over the environment;
`db upgrade`, `user` and `settings` take `--data` too.
"""


@click.command("settings")
@click.option("--markdown", "as_markdown", is_flag=True, help="Write docs/settings.md to the terminal.")
@place.data_option
def settings(as_markdown: bool, data: Path | None) -> None:
    """List every setting, what it is now, and what it is for."""
    print(markdown() if as_markdown else listing(place.settings(os.environ, data=data)), end="")


def listing(now: Settings) -> str:
    """All settings in words, secrets hidden."""
    blocks = []
    for spec in dataclasses.fields(Settings):
        value = getattr(now, spec.name)
        shown = ("set, hidden" if value else "") if spec.metadata["secret"] else written(value)
        blocks.append(f"{spec.metadata['env']} = {shown or '(unset)'}\n    {spec.metadata['says']}\n")
    return "\n".join(blocks)


def markdown() -> str:
    """The page docs/settings.md: one heading a setting."""
    blocks = [_HEAD]
    for spec in dataclasses.fields(Settings):
        default = written(spec.default)
        secret = " Secret." if spec.metadata["secret"] else ""
        known = f" Default: `{default}`." if default else ""
        blocks.append(f"## {spec.metadata['env']}\n\n{spec.metadata['says']}{known}{secret}\n")
    return "\n".join(blocks)
