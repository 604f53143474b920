"""Endpoints, what is due, and what is current of each: the hot, narrow tables of a scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.base import Base, Id, index_where, live_index
from core.store.db import CHUNK, insert_missing, upsert


class Domain(Base):
    """A name a user lists. `kind` is exact for now; tree comes with discovery."""

    __tablename__ = "domains"
    id: Mapped[Id]
    ref: Mapped[str] = mapped_column(sa.String(16), unique=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(sa.String(253))
    kind: Mapped[str] = mapped_column(sa.String(8), default="exact")
    created_at: Mapped[datetime]
    created_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("uq_domains_live", "account_id", "name", unique=True),)


class Endpoint(Base):
    """What is dialled. Shared by all accounts that watch it, but for those in private ranges, whose `scope` is one account's reference."""

    __tablename__ = "endpoints"
    id: Mapped[Id]
    name: Mapped[str] = mapped_column(sa.String(253))
    port: Mapped[int] = mapped_column(sa.Integer)
    starttls: Mapped[str] = mapped_column(sa.String(16), default="")
    address: Mapped[str] = mapped_column(sa.String(64), default="")
    scope: Mapped[str] = mapped_column(sa.String(16), default="")
    created_at: Mapped[datetime]
    __table_args__ = (sa.UniqueConstraint("name", "port", "starttls", "address", "scope", name="uq_endpoints_target"),)


class Schedule(Base):
    """When an endpoint is due, and who has it in hand.

    `claim` counts hand-outs; `lease_until` is set while one is in hand and cleared by the record of its result, so that a
    result is recorded once. `watchers` counts live watches: nobody's endpoint is not scanned. `requested_at` is the last time a
    person asked for a scan: until `last_scanned_at` passes it, pages say "Checking".
    """

    __tablename__ = "schedule"
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"), primary_key=True, autoincrement=False)
    perspective: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    next_scan_at: Mapped[datetime]
    urgent: Mapped[bool] = mapped_column(default=False)
    lease_until: Mapped[datetime | None]
    claim: Mapped[int] = mapped_column(default=0)
    watchers: Mapped[int] = mapped_column(sa.Integer, default=0)
    failures: Mapped[int] = mapped_column(sa.Integer, default=0)
    scans: Mapped[int] = mapped_column(default=0)
    requested_at: Mapped[datetime | None]
    last_scanned_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("watchers > 0", "ix_schedule_due", "next_scan_at"),
        sa.Index("ix_schedule_last", "last_scanned_at"),
        sa.Index(  # small: a backlog of millions is not read at every look to find that nothing in it is urgent
            "ix_schedule_urgent",
            "next_scan_at",
            sqlite_where=sa.text("urgent IS 1 AND watchers > 0"),  # in the words of the question, or the engine does not see that it fits
            postgresql_where=sa.text("urgent IS true AND watchers > 0"),
        ),
    )


class Verdict(Base):
    """How an endpoint stands by the newest scan: passes are this row, other verdicts are findings beside it."""

    __tablename__ = "verdicts"
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"), primary_key=True, autoincrement=False)
    perspective: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    judged_at: Mapped[datetime]
    ruleset: Mapped[str] = mapped_column(sa.String(32))
    state: Mapped[str] = mapped_column(sa.String(8))
    ends_at: Mapped[datetime | None]
    sentence: Mapped[str]
    cname_chain: Mapped[list[str]]


class ScanGap(Base):
    """A scan that did not happen when it was due; open until the endpoint was scanned again."""

    __tablename__ = "scan_gaps"
    id: Mapped[Id]
    endpoint_id: Mapped[int] = mapped_column(sa.ForeignKey("endpoints.id"))
    perspective: Mapped[str] = mapped_column(sa.String(32))
    due_at: Mapped[datetime]
    noticed_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    __table_args__ = (
        index_where("closed_at IS NULL", "uq_scan_gaps_open", "endpoint_id", "perspective", unique=True),
        sa.Index("ix_scan_gaps_noticed_at", "noticed_at"),
        sa.Index("ix_scan_gaps_endpoint", "endpoint_id"),
    )


class ScanTally(Base):
    """Scans made on one day from one perspective."""

    __tablename__ = "scan_tallies"
    day: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    perspective: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    made: Mapped[int] = mapped_column(default=0)


def ensure_endpoints(
    session: Session, wanted: set[tuple[str, int, str, str]], *, scope: str, perspective: str, now: datetime
) -> dict[tuple[str, int, str, str], int]:
    """The endpoint of each (name, port, upgrade protocol, fixed address), with its schedule.

    Made where there is none, also by somebody else at the same time.
    """
    made = {"scope": scope, "created_at": now}
    rows = [
        made | {"name": name, "port": port, "starttls": starttls, "address": address} for name, port, starttls, address in sorted(wanted)
    ]
    insert_missing(session, Endpoint, rows)
    columns = (Endpoint.name, Endpoint.port, Endpoint.starttls, Endpoint.address, Endpoint.id)
    found = session.execute(sa.select(*columns).where(Endpoint.name.in_({name for name, *_ in wanted}), Endpoint.scope == scope))
    ids = {key: endpoint_id for name, port, starttls, address, endpoint_id in found if (key := (name, port, starttls, address)) in wanted}
    new = {"perspective": perspective, "next_scan_at": now, "urgent": False, "claim": 0, "watchers": 0, "failures": 0, "scans": 0}
    insert_missing(session, Schedule, [new | {"endpoint_id": endpoint_id} for endpoint_id in sorted(ids.values())])
    return ids


def lock_schedules(session: Session, endpoint_ids: Sequence[int]) -> dict[int, list[Schedule]]:
    """Schedule rows of these endpoints, locked in one order for everybody."""
    rows: dict[int, list[Schedule]] = {}
    for start in range(0, len(endpoint_ids), CHUNK):
        query = sa.select(Schedule).where(Schedule.endpoint_id.in_(sorted(endpoint_ids)[start : start + CHUNK]))
        for schedule in session.scalars(
            query.order_by(Schedule.endpoint_id, Schedule.perspective).with_for_update().execution_options(populate_existing=True)
        ):
            rows.setdefault(schedule.endpoint_id, []).append(schedule)
    return rows


def hold_schedules(session: Session, endpoint_ids: Sequence[int]) -> list[tuple[int, str, datetime | None]]:
    """Endpoint, perspective and last scan of these endpoints' schedules, locked as `lock_schedules` does, where nothing else is needed."""
    ids = sorted(endpoint_ids)
    rows: list[tuple[int, str, datetime | None]] = []
    for start in range(0, len(ids), CHUNK):
        query = sa.select(Schedule.endpoint_id, Schedule.perspective, Schedule.last_scanned_at).where(
            Schedule.endpoint_id.in_(ids[start : start + CHUNK])
        )
        rows += session.execute(query.order_by(Schedule.endpoint_id, Schedule.perspective).with_for_update())
    return rows


def take_on(session: Session, due: Mapping[tuple[int, str], datetime], now: datetime) -> None:
    """One more watches these endpoints and asks for a scan, which is due when `due` says. Their schedules are held by the caller.

    Almost all are due at the same time, so that one statement does for hundreds.
    """
    together: dict[tuple[str, datetime], list[int]] = {}
    for (endpoint_id, perspective), at in sorted(due.items()):
        together.setdefault((perspective, at), []).append(endpoint_id)
    for (perspective, at), ids in together.items():
        for start in range(0, len(ids), CHUNK):
            these = (Schedule.perspective == perspective, Schedule.endpoint_id.in_(ids[start : start + CHUNK]))
            values = {"watchers": Schedule.watchers + 1, "next_scan_at": at, "requested_at": now, "urgent": True}
            session.execute(sa.update(Schedule).where(*these).values(values))


def set_verdicts(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace how these endpoints stand."""
    if not rows:
        return
    insert = upsert(session, Verdict)
    changed = {name: insert.excluded[name] for name in ("judged_at", "ruleset", "state", "ends_at", "sentence", "cname_chain")}
    session.execute(insert.on_conflict_do_update(index_elements=["endpoint_id", "perspective"], set_=changed), list(rows))


def open_gaps(session: Session, *, grace: timedelta, now: datetime) -> int:
    """Note every scan that has been due for longer than `grace` and has not happened. How many are new."""
    overdue = session.execute(
        sa.select(Schedule.endpoint_id, Schedule.perspective, Schedule.next_scan_at)
        .outerjoin(
            ScanGap,
            sa.and_(
                ScanGap.endpoint_id == Schedule.endpoint_id,
                ScanGap.perspective == Schedule.perspective,
                ScanGap.closed_at.is_(None),
            ),
        )
        .where(Schedule.watchers > 0, Schedule.next_scan_at < now - grace, ScanGap.id.is_(None))
    ).all()
    rows = [{"endpoint_id": e, "perspective": p, "due_at": due, "noticed_at": now, "closed_at": None} for e, p, due in overdue]
    insert_missing(session, ScanGap, rows)
    return len(rows)


def close_gaps(session: Session, endpoint_ids: Sequence[int], now: datetime) -> None:
    """The endpoints were scanned: what was missed is over."""
    where = (ScanGap.endpoint_id.in_(endpoint_ids), ScanGap.closed_at.is_(None))
    session.execute(sa.update(ScanGap).where(*where).values(closed_at=now).execution_options(synchronize_session=False))


def count_scans(session: Session, perspectives: Sequence[str], now: datetime) -> None:
    """Add to the day's count."""
    for perspective, made in sorted(Counter(perspectives).items()):
        insert = upsert(session, ScanTally).values(day=f"{now:%Y-%m-%d}", perspective=perspective, made=made)
        added = {"made": ScanTally.made + made}
        session.execute(insert.on_conflict_do_update(index_elements=["day", "perspective"], set_=added))
