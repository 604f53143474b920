"""Keys that exports are signed with: each is published in the log once, so that what it signed stays checkable."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, require_worker
from core.exports.keys import BundleKey, bundle_key, key_name, read_keys
from core.store.exports import BundleKey as Published


def signing_key(session: Session, actor: Actor, *, data: Path, public_url: str, now: datetime) -> BundleKey:
    """The key to sign with, which the log knows from now on. Raises OSError and BundleKeyError."""
    require_worker(actor)
    key = bundle_key(data, key_name(public_url))
    if not session.scalar(sa.select(sa.exists().where(Published.vkey == key.vkey))):
        session.add(Published(vkey=key.vkey, published_at=now))
        session.flush()
        append(session, Event("bundle_key.published.v1", now, actor.name, "", {"vkey": key.vkey}))
    return key


def own_vkeys(session: Session, data: Path) -> tuple[str, ...]:
    """Every public key whose bundles are this installation's own: those of the file, and those that it once published."""
    return tuple(dict.fromkeys([*(key.vkey for key in read_keys(data)), *session.scalars(sa.select(Published.vkey))]))
