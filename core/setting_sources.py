"""What a setting is, and where its words come from: the environment, or for a secret a file that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any


def setting(env: str, says: str, *, default: Any, read: Callable[[str], Any] = str.strip, secret: bool = False) -> Any:
    """A field of `config.Settings`: its name in the environment, what it is for, and how it is read."""
    return field(default=default, metadata={"env": env, "says": says, "read": read, "secret": secret})


def raw_value(environ: Mapping[str, str], name: str, *, secret: bool) -> str:
    """What was written, "" where nothing was. Raises ValueError with a sentence."""
    path = environ.get(f"{name}_FILE", "") if secret else ""
    if not path:
        return environ.get(name, "").strip()
    if environ.get(name):
        raise ValueError(f"{name} and {name}_FILE are both set. Keep one of them.")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE: {path} cannot be read ({error.strerror}).") from None
