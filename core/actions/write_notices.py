"""Which notices a change calls for, and what becomes of those not yet sent. The same thing is told to a person once.

A notice's key makes it unique: account, person, certificate and step for what comes with a certificate's age; account, person
and incident for the rest. A notice that was cancelled before it was sent gives its key back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.scanner.facts import Finding
from core.scanner.summary import EXPIRING, day
from core.store.accounts import Member, members_of
from core.store.base import new_ref
from core.store.db import insert_missing
from core.store.incidents import Incident, Notice
from core.store.watches import Watch

EXPIRED = "CERT-EXPIRED"


@dataclass(frozen=True, slots=True)
class Change:
    """What a scan changed for one watch: incidents opened, still open and closed; whether all is well now, and until when."""

    watch: Watch
    opened: tuple[tuple[Incident, Finding], ...]
    still: tuple[tuple[Incident, Finding], ...]
    closed: tuple[Incident, ...]
    well: bool
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Telling:
    """What one person is to be told."""

    kind: str
    about: str
    message: str
    fix: str = ""
    step: str = ""
    certificate: str = ""
    incident_id: int | None = None


def write_notices(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Add the notices that these changes call for, one a member; those told before are left as they are."""
    changes = [change for change in changes if change.opened or change.still or change.closed]
    if not changes:
        return
    members: dict[int, list[Member]] = {}
    for member in members_of(session, sorted({change.watch.account_id for change in changes})):
        members.setdefault(member.account_id, []).append(member)
    rows: list[dict[str, object]] = []
    for change in changes:
        for telling in _tellings(session, change):
            rows += [_row(change.watch, member, telling, now) for member in members.get(change.watch.account_id, ())]
    insert_missing(session, Notice, rows)


def settle_notices(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Look again at what was not sent yet: what a fresh scan still sees is confirmed, what is over is cancelled."""
    by_watch = {change.watch.id: change for change in changes}
    unsent = (Notice.sent_at.is_(None), Notice.cancelled_at.is_(None), Notice.handed_at.is_(None))
    for notice in session.scalars(sa.select(Notice).where(Notice.watch_id.in_(by_watch), *unsent).with_for_update()):
        if _over(notice, by_watch[notice.watch_id]):
            cancel(notice, now)
        else:
            notice.verified_at = now
    session.flush()


def cancel(notice: Notice, now: datetime) -> None:
    """The notice is not sent. Its key is given back: if it comes true again, it is told."""
    notice.cancelled_at = now
    notice.key = f"{notice.key}:cancelled:{notice.ref}"


def cancel_notices(session: Session, watch_ids: Sequence[int], now: datetime) -> None:
    """Nobody watches these any more: what was not sent is not sent."""
    unsent = (Notice.sent_at.is_(None), Notice.cancelled_at.is_(None), Notice.handed_at.is_(None))
    for notice in session.scalars(sa.select(Notice).where(Notice.watch_id.in_(watch_ids), *unsent).with_for_update()):
        cancel(notice, now)
    session.flush()


def _over(notice: Notice, change: Change) -> bool:
    if notice.kind == "well":
        return not change.well
    if notice.incident_id is not None and any(incident.id == notice.incident_id for incident in change.closed):
        return True
    now_open = {incident.id: finding for incident, finding in (*change.opened, *change.still)}
    finding = now_open.get(notice.incident_id or 0)
    return notice.kind == "expiring" and finding is not None and finding.evidence.get("step") != notice.step


def _tellings(session: Session, change: Change) -> Iterator[_Telling]:
    turned_bad: list[tuple[Incident, Finding]] = []
    for incident, finding in (*change.opened, *change.still):
        opened = any(incident is each for each, _ in change.opened)
        if finding.check in {EXPIRING, EXPIRED}:
            step = str(finding.evidence.get("step", "")) if finding.check == EXPIRING else ""
            kind = "expiring" if finding.check == EXPIRING else "ended"
            about = f"{finding.certificate}:{step or kind}"
            yield _Telling(kind, about, finding.message, finding.fix, step, finding.certificate, incident.id)
        elif opened:
            turned_bad.append((incident, finding))
    if turned_bad:
        first, worst = turned_bad[0]
        message = " ".join(dict.fromkeys(finding.message for _, finding in turned_bad))
        yield _Telling("bad", f"bad:{first.ref}", message, worst.fix, certificate=worst.certificate, incident_id=first.id)
    if change.well and change.closed and _was_told(session, change):
        last = change.closed[-1]
        until = f" It is served a certificate that ends on {day(change.ends_at)}." if change.ends_at else ""
        yield _Telling("well", f"well:{last.ref}", f"What we told you of is over.{until}", incident_id=last.id)


def _was_told(session: Session, change: Change) -> bool:
    """Whether anybody heard of what is over now. Who heard nothing needs no all-clear."""
    closed = [incident.id for incident in change.closed]
    told = sa.select(Notice.id).where(Notice.incident_id.in_(closed), Notice.kind != "well", Notice.handed_at.is_not(None))
    return session.scalar(sa.select(told.exists())) or False


def _row(watch: Watch, member: Member, telling: _Telling, now: datetime) -> dict[str, object]:
    return {
        "ref": new_ref(), "account_id": watch.account_id, "user_id": member.user_id, "watch_id": watch.id,
        "incident_id": telling.incident_id, "channel": "mail", "kind": telling.kind, "step": telling.step,
        "certificate": telling.certificate, "message": telling.message, "fix": telling.fix,
        "key": f"{watch.account_id}:{member.user_id}:{telling.about}",
        "created_at": now, "verified_at": now, "due_at": now, "attempts": 0, "kept": False,
        "subject": "", "body": "", "last_error": "",
    }  # fmt: skip
