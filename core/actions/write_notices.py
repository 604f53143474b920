"""Which notices a change calls for, and what becomes of those not yet sent. The same thing is told to a person once.

A notice's key makes it unique: account, person, certificate and step for what comes with a leaf's age; account, person and incident for
the rest. Every notice is linked to the incidents it tells of: what is told is known from there, and only who was told of something bad
is told that it is over. A notice that was cancelled before it was sent gives its key back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.settle_notices import Change
from core.scanner.facts import Finding
from core.scanner.summary import EXPIRING, day
from core.store.accounts import Member, members_of
from core.store.base import new_ref
from core.store.db import insert_missing
from core.store.incidents import Incident, Notice, NoticeIncident

EXPIRED = "CERT-EXPIRED"


@dataclass(frozen=True, slots=True)
class _Telling:
    """What one person is to be told: `about` makes it unique, `incidents` are what it tells of."""

    kind: str
    about: str
    message: str
    incidents: tuple[int, ...]
    fix: str = ""
    step: str = ""
    certificate: str = ""


def write_notices(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Add the notices that these changes call for, one a member; those told before are left as they are."""
    changes = [change for change in changes if change.opened or change.still or change.well]
    owed = _owed(session, [change.watch.id for change in changes if change.well], now)
    changes = [change for change in changes if change.opened or change.still or change.watch.id in owed]
    if not changes:
        return
    current = [incident.id for change in changes for incident, _ in (*change.opened, *change.still)]
    told = _told(session, current)
    relapsed = _relapsed(session, changes)
    members: dict[int, list[Member]] = {}
    for member in members_of(session, sorted({change.watch.account_id for change in changes})):
        members.setdefault(member.account_id, []).append(member)
    rows: dict[str, tuple[dict[str, object], tuple[int, ...]]] = {}
    for change in changes:
        for telling in _tellings(change, told, relapsed, owed.get(change.watch.id, ())):
            for member in members.get(change.watch.account_id, ()):
                row = _row(change, member, telling, now)
                key = str(row["key"])
                rows[key] = (row, (*rows[key][1], *telling.incidents) if key in rows else telling.incidents)
    _insert(session, rows)


def _insert(session: Session, rows: dict[str, tuple[dict[str, object], tuple[int, ...]]]) -> None:
    insert_missing(session, Notice, [rows[key][0] for key in sorted(rows)])
    ids = dict(session.execute(sa.select(Notice.key, Notice.id).where(Notice.key.in_(rows))).all())
    links = {(ids[key], incident) for key, (_, incidents) in rows.items() if key in ids for incident in incidents}
    insert_missing(session, NoticeIncident, [{"notice_id": notice, "incident_id": incident} for notice, incident in sorted(links)])


def _tellings(change: Change, told: Collection[int], relapsed: Collection[int], owed: Sequence[Incident]) -> Iterator[_Telling]:
    turned_bad: list[tuple[Incident, Finding]] = []
    for incident, finding in (*change.opened, *change.still):
        with_age = finding.check in {EXPIRING, EXPIRED} and finding.certificate in change.leaves
        if with_age and incident.id not in relapsed:
            step = str(finding.evidence.get("step", "")) if finding.check == EXPIRING else ""
            kind = "expiring" if finding.check == EXPIRING else "ended"
            about = f"{finding.certificate}:{step or kind}"
            yield _Telling(kind, about, finding.message, (incident.id,), finding.fix, step, finding.certificate)
        elif incident.id not in told:
            turned_bad.append((incident, finding))
    if turned_bad:
        first, worst = turned_bad[0]
        message = " ".join(dict.fromkeys(finding.message for _, finding in turned_bad))
        ids = tuple(incident.id for incident, _ in turned_bad)
        yield _Telling("bad", f"bad:{first.ref}", message, ids, worst.fix, certificate=worst.certificate)
    if owed:
        until = f" It is served a certificate that ends on {day(change.ends_at)}." if change.ends_at else ""
        ids = tuple(incident.id for incident in owed)
        yield _Telling("well", f"well:{owed[-1].ref}", f"What we told you of is over.{until}", ids)


def _told(session: Session, incident_ids: Sequence[int]) -> set[int]:
    """Those of these incidents of which a notice tells that was not cancelled."""
    linked = sa.select(NoticeIncident.incident_id).join(Notice, Notice.id == NoticeIncident.notice_id)
    return set(session.scalars(linked.where(NoticeIncident.incident_id.in_(incident_ids), Notice.cancelled_at.is_(None))))


def _owed(session: Session, watch_ids: Sequence[int], now: datetime) -> dict[int, list[Incident]]:
    """What is over at these watches and was told, oldest first. All that is over is cleared: what nobody heard of is owed to nobody."""
    if not watch_ids:
        return {}
    over = session.scalars(
        sa.select(Incident)
        .where(Incident.watch_id.in_(watch_ids), Incident.closed_at.is_not(None), Incident.cleared_at.is_(None))
        .order_by(Incident.id)
    ).all()
    heard = sa.select(NoticeIncident.incident_id).join(Notice, Notice.id == NoticeIncident.notice_id)
    where = (NoticeIncident.incident_id.in_([incident.id for incident in over]), Notice.handed_at.is_not(None), Notice.kind != "well")
    told = set(session.scalars(heard.where(*where))) if over else set()
    owed: dict[int, list[Incident]] = {}
    for incident in over:
        incident.cleared_at = now
        if incident.id in told:
            owed.setdefault(incident.watch_id, []).append(incident)
    session.flush()
    return owed


def _relapsed(session: Session, changes: Sequence[Change]) -> set[int]:
    """Incidents of a certificate's age that were opened now, though all of that certificate and kind was told and over: it came back."""
    opened: dict[tuple[int, str, str], list[int]] = {}
    for change in changes:
        for incident, finding in change.opened:
            if finding.check in {EXPIRING, EXPIRED}:
                opened.setdefault((change.watch.account_id, finding.check, finding.certificate), []).append(incident.id)
    if not opened:
        return set()
    earlier = session.execute(
        sa.select(Incident.account_id, Incident.check, Incident.certificate, Incident.closed_at)
        .join(NoticeIncident, NoticeIncident.incident_id == Incident.id)
        .join(Notice, Notice.id == NoticeIncident.notice_id)
        .where(
            Incident.account_id.in_({account for account, _, _ in opened}),
            Incident.certificate.in_({certificate for _, _, certificate in opened}),
            Incident.id.not_in([incident_id for ids in opened.values() for incident_id in ids]),
            Incident.removed.is_(False),
            Notice.handed_at.is_not(None),
            Notice.kind.in_(("expiring", "ended")),
        )
    ).all()
    over = {(account, check, certificate) for account, check, certificate, closed in earlier if closed is not None}
    going_on = {(account, check, certificate) for account, check, certificate, closed in earlier if closed is None}
    return {incident_id for key, ids in opened.items() if key in over - going_on for incident_id in ids}


def _row(change: Change, member: Member, telling: _Telling, now: datetime) -> dict[str, object]:
    watch = change.watch
    return {
        "ref": new_ref(), "account_id": watch.account_id, "user_id": member.user_id, "watch_id": watch.id,
        "channel": "mail", "kind": telling.kind, "step": telling.step, "certificate": telling.certificate,
        "message": telling.message, "fix": telling.fix, "key": f"{watch.account_id}:{member.user_id}:{telling.about}",
        "created_at": now, "verified_at": now, "due_at": now, "attempts": 0, "kept": False,
        "subject": "", "body": "", "last_error": "",
    }  # fmt: skip
