"""Public incidents: what the status feed tells of disturbances and of planned work, update by update, and who wants to be told by mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where

DISTURBED: Final = ("investigating", "identified", "monitoring", "resolved")
PLANNED: Final = ("scheduled", "in_progress", "verifying", "completed")
"""The states of a disturbance and of planned work, in their order; in the last one it is over."""
IMPACTS: Final = ("none", "minor", "major", "critical")


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


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """One word about an incident."""

    state: str
    words: str
    at: datetime


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident with its updates, newest first. Fields as in `PublicIncident`."""

    ref: str
    title: str
    impact: str
    state: str
    components: tuple[str, ...]
    automatic: str
    opened_at: datetime
    publish_at: datetime | None
    published_at: datetime | None
    withheld_at: datetime | None
    ended_at: datetime | None
    planned_from: datetime | None
    planned_until: datetime | None
    account: str
    changed_at: datetime
    updates: tuple[UpdateRow, ...]

    @property
    def standing(self) -> str:
        """Whether strangers see it: "public", "withheld", or "waiting" until `publish_at`."""
        return "public" if self.published_at else "withheld" if self.withheld_at else "waiting"

    @property
    def states(self) -> tuple[str, ...]:
        """Which states it may be in before it is over."""
        return (PLANNED if self.planned_from else DISTURBED)[:-1]


def public_incidents(session: Session, since: datetime) -> tuple[IncidentRow, ...]:
    """What strangers see: all that is open, and what was over after `since`; newest first."""
    shown = sa.or_(PublicIncident.ended_at.is_(None), PublicIncident.ended_at >= since)
    return _rows(session, PublicIncident.published_at.is_not(None), shown)


def incidents_in_hand(session: Session) -> tuple[IncidentRow, ...]:
    """What is open or still waits to become public, for operators; newest first."""
    waits = sa.and_(PublicIncident.published_at.is_(None), PublicIncident.publish_at.is_not(None), PublicIncident.withheld_at.is_(None))
    return _rows(session, sa.or_(PublicIncident.ended_at.is_(None), waits))


def incidents_over(session: Session, most: int) -> tuple[IncidentRow, ...]:
    """The newest of those that are over, whether strangers see them or not."""
    return _rows(session, PublicIncident.ended_at.is_not(None), most=most)


def one_incident(session: Session, ref: str) -> IncidentRow | None:
    """The incident with this reference."""
    return next(iter(_rows(session, PublicIncident.ref == ref)), None)


def _rows(session: Session, *where: sa.ColumnElement[bool], most: int = 500) -> tuple[IncidentRow, ...]:
    newest = (PublicIncident.opened_at.desc(), PublicIncident.id.desc())
    found = session.scalars(sa.select(PublicIncident).where(*where).order_by(*newest).limit(most)).all()
    said: dict[int, list[UpdateRow]] = {each.id: [] for each in found}
    for each in session.scalars(sa.select(PublicUpdate).where(PublicUpdate.incident_id.in_(said)).order_by(PublicUpdate.id.desc())):
        said[each.incident_id].append(UpdateRow(each.state, each.words, each.at))
    return tuple(_row(each, said[each.id]) for each in found)


def _row(each: PublicIncident, said: Sequence[UpdateRow]) -> IncidentRow:
    return IncidentRow(
        ref=each.ref,
        title=each.title,
        impact=each.impact,
        state=each.state,
        components=tuple(each.components),
        automatic=each.automatic,
        opened_at=each.opened_at,
        publish_at=each.publish_at,
        published_at=each.published_at,
        withheld_at=each.withheld_at,
        ended_at=each.ended_at,
        planned_from=each.planned_from,
        planned_until=each.planned_until,
        account=each.account,
        changed_at=each.changed_at,
        updates=tuple(said),
    )


def subscribers_to_tell(session: Session, after: int, most: int) -> list[tuple[int, str, str]]:
    """Row, reference and address of those who confirmed and have not left, in the order of their rows, from behind `after` on."""
    there = (Subscriber.confirmed_at.is_not(None), Subscriber.left_at.is_(None), Subscriber.id > after)
    rows = session.execute(sa.select(Subscriber.id, Subscriber.ref, Subscriber.email).where(*there).order_by(Subscriber.id).limit(most))
    return [(number, ref, email) for number, ref, email in rows]


def subscribers_counted(session: Session) -> int:
    """How many are told by mail."""
    there = (Subscriber.confirmed_at.is_not(None), Subscriber.left_at.is_(None))
    return session.scalar(sa.select(sa.func.count()).select_from(Subscriber).where(*there)) or 0


def is_told(session: Session, ref: str) -> bool:
    """Whether this subscriber confirmed and has not left."""
    there = (Subscriber.ref == ref, Subscriber.confirmed_at.is_not(None), Subscriber.left_at.is_(None))
    return session.scalar(sa.select(sa.exists().where(*there))) or False


def told_in_mail(session: Session, update_id: int) -> dict[str, str]:
    """What a mail about this update says: title, state, words, and the incident's reference. {} where there is none."""
    row = session.execute(
        sa.select(PublicIncident.ref, PublicIncident.title, PublicUpdate.state, PublicUpdate.words)
        .join(PublicIncident, PublicIncident.id == PublicUpdate.incident_id)
        .where(PublicUpdate.id == update_id)
    ).first()
    return {} if row is None else {"ref": row.ref, "title": row.title, "state": row.state.replace("_", " "), "text": row.words}


def changed_at(session: Session) -> datetime | None:
    """When anything was said of an incident last; None where there is none."""
    return session.scalar(sa.select(sa.func.max(PublicIncident.changed_at)))
