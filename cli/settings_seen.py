"""Which settings are others than at the last start. Of each only a keyed digest is kept: a password cannot be tried against it."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime
from typing import Final

from cli.db import engine_for
from config import Settings
from core.actions.logs import note_settings
from core.actions.policy import Actor
from core.envelope import kept_key
from core.setting_readers import written
from core.store.db import Sessions

SEEN: Final = "settings-seen"
_ALWAYS_OTHERS: Final = frozenset({"KEYCHEST_PORT"})
"""What `up` itself may choose anew each time."""


def tell_changed(settings: Settings) -> tuple[str, ...]:
    """Tell the log which settings are others than at the last start; their names. Raises OSError."""
    path = settings.data / SEEN
    now = _digests(settings)
    try:
        before = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        before = None
    if before == now:
        return ()
    changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name)) if isinstance(before, dict) else []
    if changed:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            note_settings(session, Actor(terminal=True), names=changed, now=datetime.now(UTC))
    fresh = path.with_name(f"{SEEN}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(now, file, indent=1)
    fresh.replace(path)
    return tuple(changed)


def _digests(settings: Settings) -> dict[str, str]:
    key = (settings.secret_key or kept_key(settings.data / "secret-key")).encode()
    found = {}
    for spec in dataclasses.fields(settings):
        value, name = getattr(settings, spec.name), spec.metadata["env"]
        if value != spec.default and name not in _ALWAYS_OTHERS:
            found[name] = hmac.digest(key, f"keychest settings seen v1\n{name}\n{written(value)}".encode(), hashlib.sha256).hex()
    return found
