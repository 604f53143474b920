"""What happened in an account is taken along by somebody who may read it: nothing changes, and the log is told."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, Permission, require, require_person


def download_activity(session: Session, actor: Actor, *, entries: int, now: datetime) -> None:
    """So many entries of the actor's account are downloaded, with all that they only commit to; by its own people alone."""
    require(actor, Permission.READ)
    require_person(actor)
    append(session, Event("activity.downloaded.v1", now, actor.name, actor.account_ref, {"entries": entries}))
