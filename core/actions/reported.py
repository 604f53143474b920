"""What a report of a host's changes, and what ends when a host says that it is no longer open. Parts of taking a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import Value
from audit.log import Event, append
from core.reported import MOST_OPEN, Delivery, Report
from core.store.access import Access, AccessReport, Host
from core.store.base import new_ref
from core.store.named import for_strangers

MOST_REASONS: Final = 10
"""So many of one delivery are looked through for names; more are kept from strangers."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A report, its text as it was signed, and the signature. `hidden`: the reason it gives is not for strangers."""

    report: Report
    text: str
    signature: str
    hidden: bool = False


def looked_through(session: Session, delivery: Delivery) -> tuple[Signed, ...]:
    """Its reports, of each whether the reason it gives is to be kept from strangers. Asked before anything is written: it takes a while."""
    reasons = [report.number for report, _, _ in delivery.reports if report.what == "reason"][:MOST_REASONS]

    def hidden(report: Report) -> bool:
        return report.what == "reason" and (report.number not in reasons or not for_strangers(session, report.reason))

    return tuple(Signed(report, text, signature, hidden(report)) for report, text, signature in delivery.reports)


def take_report(session: Session, host: Host, signed: Signed, now: datetime) -> None:
    """Keep the report, and do what it says."""
    report = signed.report
    session.add(
        AccessReport(
            host_id=host.id, number=report.number, text=signed.text, signature=signed.signature, received_at=now, lost=report.what == "lost"
        )
    )
    host.taken = report.number
    if report.what == "lost":
        before = session.get(AccessReport, (host.id, report.number - 1))
        if before is not None and before.lost:
            return  # one entry for all that are lost in a row
        append(session, Event("access_report.lost.v1", now, "worker", public={"host": host.name, "number": report.number}))
        return
    access = session.scalar(sa.select(Access).where(Access.host_id == host.id, Access.session == report.session).with_for_update())
    if access is None:
        access = _begun(session, host, report, now)
    if report.what == "closed" and access.ended_at is None:
        _end(session, access, "closed", report.at)
    elif report.what == "completed" and access.kind != report.kind:
        access.kind = report.kind
        append(session, Event("access.completed.v1", now, "worker", public={"access": access.ref, "kind": report.kind}))
    elif report.what == "reason" and not access.reason:
        access.reason, access.reason_at = " ".join(report.reason.split()), now
        access.hidden = signed.hidden
        public: dict[str, Value] = {"access": access.ref, "late": False}
        append(session, Event("access.reasoned.v1", now, "worker", public=public, private={"reason": access.reason}))


def settle_open(session: Session, host: Host, still_open: Sequence[str], at: datetime) -> None:
    """End every access of the host that it does not name as open any more: it stopped before it could say so."""
    if len(still_open) >= MOST_OPEN:
        return  # there may be more than it names
    where = (Access.host_id == host.id, Access.ended_at.is_(None), Access.session.not_in(still_open))
    for access in session.scalars(sa.select(Access).where(*where).with_for_update()):
        _end(session, access, "lost", max(at, access.started_at))


def _begun(session: Session, host: Host, report: Report, now: datetime) -> Access:
    """The access that this report is the first word of. Where that is not its beginning, the word of its beginning was lost."""
    access = Access(
        ref=new_ref(),
        host_id=host.id,
        session=report.session,
        kind=report.kind or "ssh",
        role=report.role or "user",
        person=report.user,
        origin=report.origin,
        started_at=report.at,
        recorded_at=now,
        ended_at=None,
        skewed_s=host.skew_s or None,
    )
    session.add(access)
    session.flush()
    public: dict[str, Value] = {"access": access.ref, "host": host.name, "kind": access.kind, "role": access.role, "writing": True}
    private: dict[str, Value] = {"person": access.person, "from": access.origin, "number": report.number}
    append(session, Event("access.opened.v1", report.at, "worker", public=public, private=private))
    return access


def _end(session: Session, access: Access, ending: str, at: datetime) -> None:
    access.ended_at, access.ending = at, ending
    append(session, Event("access.closed.v1", at, "worker", public={"access": access.ref, "ending": ending}))
