"""Public incidents: what the status feed tells of disturbances and of planned work, update by update, and who wants to be told by mail."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from core.store.base import Base, Id, index_where


class PublicIncident(Base):
    """A disturbance, or planned work where `planned_from` is set. Nothing of any account's stands in it.

    `state`: investigating, identified, monitoring, resolved; planned work is scheduled, in_progress, verifying, completed.
    `impact`: none, minor, major, critical. `components`: keys of `core.status.told.COMPONENTS`, a list.
    `automatic`: what the watchdog saw, as "down:portal", "" for one that a person opened; one of each is open at most.
    It is public from `published_at` on. `publish_at`: when the watchdog's own becomes public, unless somebody set `withheld_at`.
    `account`: the post-mortem, "" while none is written. `quiet_since`: since when the watchdog sees it no more.
    """

    __tablename__ = "public_incidents"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    title: Mapped[str] = mapped_column(sa.String(200))
    impact: Mapped[str] = mapped_column(sa.String(16))
    state: Mapped[str] = mapped_column(sa.String(16))
    components: Mapped[list[str]]
    automatic: Mapped[str] = mapped_column(sa.String(96), default="")
    opened_at: Mapped[datetime]
    publish_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    withheld_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    planned_from: Mapped[datetime | None]
    planned_until: Mapped[datetime | None]
    account: Mapped[str] = mapped_column(sa.Text, default="")
    changed_at: Mapped[datetime]
    quiet_since: Mapped[datetime | None]
    __table_args__ = (
        index_where("automatic <> '' AND ended_at IS NULL", "uq_public_incidents_automatic", "automatic", unique=True),
        sa.Index("ix_public_incidents_opened", "opened_at"),
    )


class PublicUpdate(Base):
    """One word about an incident, in its state from then on."""

    __tablename__ = "public_updates"
    id: Mapped[Id]
    incident_id: Mapped[int] = mapped_column(sa.ForeignKey("public_incidents.id"), index=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    words: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[datetime]
    mailed_at: Mapped[datetime | None]


class Subscriber(Base):
    """Somebody who wants public incidents by mail. The link that ends it with one click bears `ref`, sealed.

    Nothing is sent before `confirmed_at`, and nothing from `left_at` on.
    """

    __tablename__ = "subscribers"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    email: Mapped[str] = mapped_column(sa.String(320))
    asked_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    left_at: Mapped[datetime | None]
    __table_args__ = (index_where("left_at IS NULL", "uq_subscribers_there", "email", unique=True),)
