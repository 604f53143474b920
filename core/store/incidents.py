"""Incidents, and the notices that tell people about them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, Id, index_where


class Incident(Base):
    """A bad finding as it concerns one account's watch, from open to close.

    `removed`: it closed because the watch went into the bin, not because it was cured. `cleared_at`: from here on no all-clear is owed.
    """

    __tablename__ = "incidents"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    watch_id: Mapped[int] = mapped_column(sa.ForeignKey("watches.id"))
    check: Mapped[str] = mapped_column(sa.String(32))
    certificate: Mapped[str] = mapped_column(sa.String(64), default="")
    severity: Mapped[str] = mapped_column(sa.String(16))
    message: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    removed: Mapped[bool] = mapped_column(default=False)
    cleared_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("cleared_at IS NULL", "ix_incidents_owed", "watch_id"),
        index_where("closed_at IS NULL", "uq_incidents_open", "watch_id", "check", "certificate", unique=True),
        index_where("closed_at IS NULL", "ix_incidents_going_on", "account_id", "opened_at"),
        sa.Index("ix_incidents_account", "account_id", "opened_at"),
        sa.Index("ix_incidents_watch", "watch_id"),
    )


class Notice(Base):
    """One message to one person by one channel. `key` is unique: the same thing is told once, whoever asks twice.

    `kind` is expiring (with a step: 1/3, 1/6, 1/12), ended, bad, or well; `kept` says that it lies in the outbox folder.
    `verified_at` is the newest scan that still saw it; `handed_at` is set just before a message's content leaves us, so that a
    message whose fate is unknown is not sent a second time; `cancelled_at` when it was over before it was told.
    """

    __tablename__ = "notices"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    watch_id: Mapped[int] = mapped_column(sa.ForeignKey("watches.id"), index=True)
    channel: Mapped[str] = mapped_column(sa.String(16), default="mail")
    kind: Mapped[str] = mapped_column(sa.String(16))
    step: Mapped[str] = mapped_column(sa.String(16), default="")
    certificate: Mapped[str] = mapped_column(sa.String(64), default="")
    message: Mapped[str]
    fix: Mapped[str] = mapped_column(default="")
    key: Mapped[str] = mapped_column(sa.String(160), unique=True)
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime]
    due_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    handed_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    kept: Mapped[bool] = mapped_column(default=False)
    subject: Mapped[str] = mapped_column(default="")
    body: Mapped[str] = mapped_column(default="")
    last_error: Mapped[str] = mapped_column(default="")
    __table_args__ = (
        index_where("sent_at IS NULL AND cancelled_at IS NULL", "ix_notices_due", "due_at"),
        sa.Index("ix_notices_account", "account_id", "created_at"),
    )


class NoticeIncident(Base):
    """Which incidents a notice tells of. An incident is told when one of its notices was handed over."""

    __tablename__ = "notice_incidents"
    notice_id: Mapped[int] = mapped_column(sa.ForeignKey("notices.id"), primary_key=True, autoincrement=False)
    incident_id: Mapped[int] = mapped_column(sa.ForeignKey("incidents.id"), primary_key=True, autoincrement=False, index=True)
