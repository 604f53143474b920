"""Private addresses at which programs read when an account's certificates end."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import token_sha256
from core.actions.policy import Actor, Permission, Refused, require, require_person
from core.net.text import one_line
from core.store.base import new_ref
from core.store.exports import Calendar

MOST: Final = 10
LONGEST_NAME: Final = 64


def open_calendar(session: Session, actor: Actor, *, name: str, now: datetime) -> str:
    """The token in a new calendar's address, which is shown once. Raises Refused."""
    account_id = require(actor, Permission.EXPORT)
    user_id = require_person(actor)
    plain = one_line(name)
    if not plain or len(plain) > LONGEST_NAME:
        raise Refused(f"Give it a name of 1 to {LONGEST_NAME} characters, such as: team calendar. Nothing was opened.", "name")
    live = (Calendar.account_id == account_id, Calendar.revoked_at.is_(None))
    if (session.scalar(sa.select(sa.func.count()).where(*live)) or 0) >= MOST:
        raise Refused(f"There are {MOST} calendars already. Close one first. Nothing was opened.", "name")
    token = secrets.token_urlsafe(32)
    row = Calendar(
        ref=new_ref(), account_id=account_id, created_by=user_id, name=plain, token_sha256=token_sha256(token), created_at=now,
        revoked_at=None,
    )  # fmt: skip
    session.add(row)
    session.flush()
    append(session, Event("calendar.opened.v1", now, actor.name, actor.account_ref, {}, {"name": plain}))
    return token


def revoke_calendar(session: Session, actor: Actor, *, ref: str, now: datetime) -> str | None:
    """The name of the calendar whose address is worth nothing any more; None where there is none."""
    account_id = require(actor, Permission.EXPORT)
    where = (Calendar.account_id == account_id, Calendar.ref == ref, Calendar.revoked_at.is_(None))
    row = session.scalar(sa.select(Calendar).where(*where).with_for_update())
    if row is None:
        return None
    row.revoked_at = now
    append(session, Event("calendar.revoked.v1", now, actor.name, actor.account_ref, {}, {"name": row.name}))
    return row.name
