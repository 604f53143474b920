"""Exports of an account's data, the plans by which they are made and delivered, calendars, and the keys that bundles are signed with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.envelope import Place
from core.store.accounts import Account, User
from core.store.base import Base, Id, index_where, live_index


class Export(Base):
    """One export, from its asking on. The file lies outside the database, until `expires_at`.

    `state` is waiting, running, ready, failed or gone (its file is removed). `asked_by`: a person, or nobody where a plan (`plan_id`) or
    the terminal made it. `history`: how far back it goes (core.exports.form). `step`, `done` and `total` are how far it is.
    Of a plan's: `deliver_at` is when it is handed on next, None once it is there (`delivered_at`) or was given up.
    """

    __tablename__ = "exports"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    asked_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    plan_id: Mapped[int | None] = mapped_column(sa.ForeignKey("export_plans.id"))
    history: Mapped[str] = mapped_column(sa.String(8))
    state: Mapped[str] = mapped_column(sa.String(8), default="waiting")
    step: Mapped[str] = mapped_column(sa.String(32), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    asked_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    claim: Mapped[int] = mapped_column(default=0)
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    file: Mapped[str] = mapped_column(sa.String(160), default="")
    bytes: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str] = mapped_column(sa.String(64), default="")
    names: Mapped[int] = mapped_column(default=0)
    downloaded_at: Mapped[datetime | None]
    deliver_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    __table_args__ = (
        sa.Index("ix_exports_account", "account_id", "id"),
        index_where("state IN ('waiting', 'running')", "ix_exports_waiting", "id"),
        index_where("deliver_at IS NOT NULL", "ix_exports_deliver", "deliver_at"),
        index_where("state = 'ready'", "ix_exports_ready", "expires_at"),
    )


class ExportPlan(Base):
    """Exports that are made by themselves and handed to a place of the account's own.

    `every` is daily, weekly or monthly; `place` mail, s3, sftp or webhook; `address` where that is, with no secret in it; `sealed` its
    secret (core.envelope); `recipient` the account's own public key, "" where it gave none (core.seal). `failures` counts those in a row.
    """

    __tablename__ = "export_plans"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    created_at: Mapped[datetime]
    every: Mapped[str] = mapped_column(sa.String(8))
    history: Mapped[str] = mapped_column(sa.String(8))
    place: Mapped[str] = mapped_column(sa.String(8))
    address: Mapped[str] = mapped_column(default="")
    sealed: Mapped[str] = mapped_column(default="")
    recipient: Mapped[str] = mapped_column(sa.String(128), default="")
    next_at: Mapped[datetime]
    last_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(default="")
    failures: Mapped[int] = mapped_column(default=0)
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("ix_export_plans_due", "next_at"),)


class Calendar(Base):
    """A private address at which the ends of an account's certificates are read as a calendar (RFC 5545). The row holds its SHA-256."""

    __tablename__ = "calendars"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), index=True)
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(sa.String(64), default="")
    token_sha256: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class BundleKey(Base):
    """A public key that bundles of this installation were signed with, and that the log was told of. The private one is a file."""

    __tablename__ = "bundle_keys"
    id: Mapped[Id]
    vkey: Mapped[str] = mapped_column(sa.String(256), unique=True)
    published_at: Mapped[datetime]


def plan_place(account_ref: str, ref: str) -> Place:
    """Where the secret of a plan's place is sealed."""
    return Place(account_ref, ExportPlan.__tablename__, ref)


def sealed_plans(session: Session) -> list[tuple[int, str, str, str]]:
    """Every sealed secret of a plan's: row, the account's reference, the plan's, and what is sealed."""
    rows = session.execute(
        sa.select(ExportPlan.id, Account.ref, ExportPlan.ref, ExportPlan.sealed)
        .join(Account, Account.id == ExportPlan.account_id)
        .where(ExportPlan.sealed != "")
        .order_by(ExportPlan.id)
    )
    return [(number, account_ref, ref, sealed) for number, account_ref, ref, sealed in rows]


def exports_since(session: Session, since: datetime) -> tuple[int, datetime | None]:
    """How many exports became whole since then, and when the newest did."""
    row = session.execute(sa.select(sa.func.count(), sa.func.max(Export.ready_at)).where(Export.ready_at >= since)).one()
    return row[0], row[1]


@dataclass(frozen=True, slots=True)
class ExportLine:
    """An export in a list. `by`: who asked for it, "" for a plan and the terminal."""

    ref: str
    state: str
    asked_at: datetime
    by: str
    planned: bool
    history: str
    step: str
    done: int
    total: int
    ready_at: datetime | None
    expires_at: datetime | None
    bytes: int
    sha256: str
    names: int
    downloaded_at: datetime | None
    delivered_at: datetime | None
    error: str

    @property
    def going_on(self) -> bool:
        """Whether it is still being made."""
        return self.state in {"waiting", "running"}


def exports_of(session: Session, account_id: int, *, most: int = 30) -> tuple[ExportLine, ...]:
    """The newest exports of an account."""
    rows = session.execute(
        sa.select(Export, User.email)
        .outerjoin(User, User.id == Export.asked_by)
        .where(Export.account_id == account_id)
        .order_by(Export.id.desc())
        .limit(most)
        .execution_options(populate_existing=True)
    )
    return tuple(
        ExportLine(
            row.ref, row.state, row.asked_at, email or "", row.plan_id is not None, row.history, row.step, row.done, row.total,
            row.ready_at, row.expires_at, row.bytes, row.sha256, row.names, row.downloaded_at, row.delivered_at, row.error,
        )
        for row, email in rows
    )  # fmt: skip


def export_by_ref(session: Session, account_id: int, ref: str) -> Export | None:
    """The account's export with this reference."""
    return session.scalar(sa.select(Export).where(Export.account_id == account_id, Export.ref == ref).with_for_update())


def exports_waiting(session: Session, now: datetime) -> list[int]:
    """Exports that are to be made, and that nobody has in hand."""
    free = sa.or_(Export.lease_until.is_(None), Export.lease_until <= now)
    return list(session.scalars(sa.select(Export.id).where(Export.state.in_(("waiting", "running")), free).order_by(Export.id).limit(20)))


def deliveries_due(session: Session, now: datetime) -> list[int]:
    """Exports that are to be handed to their place now."""
    free = sa.or_(Export.lease_until.is_(None), Export.lease_until <= now)
    where = (Export.deliver_at.is_not(None), Export.deliver_at <= now, Export.state == "ready", free)
    return list(session.scalars(sa.select(Export.id).where(*where).order_by(Export.deliver_at).limit(20)))


def files_over(session: Session, now: datetime) -> bool:
    """Whether there are files whose day is over."""
    where = (Export.state == "ready", Export.expires_at <= now, Export.deliver_at.is_(None))
    return session.scalar(sa.select(sa.exists().where(*where))) or False


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan in a list. `sealed_to`: a public key of the account's own, "" for none."""

    ref: str
    every: str
    history: str
    place: str
    address: str
    sealed_to: str
    next_at: datetime
    last_at: datetime | None
    delivered_at: datetime | None
    error: str
    failures: int


def plans_of(session: Session, account_id: int) -> tuple[PlanLine, ...]:
    """The plans of an account, the oldest first, each with when one of its exports last reached its place."""
    newest = sa.select(sa.func.max(Export.delivered_at)).where(Export.plan_id == ExportPlan.id).correlate(ExportPlan).scalar_subquery()
    rows = session.execute(
        sa.select(ExportPlan, newest).where(ExportPlan.account_id == account_id, ExportPlan.deleted_at.is_(None)).order_by(ExportPlan.id)
    )
    return tuple(
        PlanLine(
            row.ref, row.every, row.history, row.place, row.address, row.recipient, row.next_at, row.last_at, delivered, row.last_error,
            row.failures,
        )
        for row, delivered in rows
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalendarLine:
    """A calendar in a list. `by` opened it."""

    ref: str
    name: str
    by: str
    created_at: datetime


def calendars_of(session: Session, account_id: int) -> tuple[CalendarLine, ...]:
    """Calendars that can be read, the oldest first."""
    rows = session.execute(
        sa.select(Calendar, User.email)
        .outerjoin(User, User.id == Calendar.created_by)
        .where(Calendar.account_id == account_id, Calendar.revoked_at.is_(None))
        .order_by(Calendar.id)
    )
    return tuple(CalendarLine(row.ref, row.name, email or "", row.created_at) for row, email in rows)


def calendar_of(session: Session, token_sha256: str) -> tuple[int, str] | None:
    """The account whose calendar this is, and its name; None where it was closed, or the account is in the bin."""
    row = session.execute(
        sa.select(Account.id, Account.name)
        .join(Calendar, Calendar.account_id == Account.id)
        .where(Calendar.token_sha256 == token_sha256, Calendar.revoked_at.is_(None), Account.deleted_at.is_(None))
    ).first()
    return (row[0], row[1]) if row is not None else None
