"""What an account was told, and how each message stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.accounts import User
from core.store.incidents import Notice
from core.store.watches import Watch


@dataclass(frozen=True, slots=True)
class Told:
    """One message to one person. `name` and `port` are those of the watch, `watch_ref` is "" where that is in the bin."""

    ref: str
    email: str
    name: str
    port: int
    how: str
    watch_ref: str
    kind: str
    step: str
    certificate: str
    message: str
    subject: str
    body: str
    created_at: datetime
    due_at: datetime
    attempts: int
    handed_at: datetime | None
    sent_at: datetime | None
    cancelled_at: datetime | None
    kept: bool
    last_error: str

    @property
    def state(self) -> str:
        """Either "sent", "kept" (in the outbox), "cancelled", "unsure" (handed over, and never heard of again) or "waiting"."""
        if self.sent_at is not None:
            return "kept" if self.kept else "sent"
        if self.cancelled_at is not None:
            return "cancelled"
        return "unsure" if self.handed_at is not None else "waiting"


def told(session: Session, account_id: int, *, until: datetime | None = None, skip: int = 0, most: int) -> tuple[Told, ...]:
    """The account's messages, newest first: those not after `until`, without the `skip` newest of that very instant."""
    query = (
        sa.select(Notice, User.email, Watch.name, Watch.port, Watch.how, sa.case((Watch.deleted_at.is_(None), Watch.ref), else_=""))
        .join(User, User.id == Notice.user_id)
        .join(Watch, Watch.id == Notice.watch_id)
        .where(Notice.account_id == account_id)
        .order_by(Notice.created_at.desc(), Notice.id.desc())
        .limit(most)
    )
    if until is not None:
        query = query.where(Notice.created_at <= until).offset(skip)
    return tuple(_told(notice, email, where, watch_ref) for notice, email, *where, watch_ref in session.execute(query))


def _told(notice: Notice, email: str, where: list[Any], watch_ref: str) -> Told:
    name, port, how = where
    return Told(
        ref=notice.ref,
        email=email,
        name=name,
        port=port,
        how=how,
        watch_ref=watch_ref,
        kind=notice.kind,
        step=notice.step,
        certificate=notice.certificate,
        message=notice.message,
        subject=notice.subject,
        body=notice.body,
        created_at=notice.created_at,
        due_at=notice.due_at,
        attempts=notice.attempts,
        handed_at=notice.handed_at,
        sent_at=notice.sent_at,
        cancelled_at=notice.cancelled_at,
        kept=notice.kept,
        last_error=notice.last_error,
    )
