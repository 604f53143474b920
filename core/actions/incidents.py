"""What a scan means for those who watch: how a watch stands, incidents from open to close, and the notices that tell of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.settle_notices import Change, settle_notices
from core.actions.write_notices import write_notices
from core.scanner.facts import Finding, Status
from core.scanner.summary import EXPIRING, Summary
from core.scanner.verdict import Verdict
from core.store.base import new_ref
from core.store.incidents import Incident
from core.store.observations import Current
from core.store.watches import NO_END, STATES, Watch, move_tallies

SETTLES = timedelta(hours=3)
"""How long an address must be gone before what was wrong there is over."""
Key = tuple[str, str]
"""Check and certificate: what makes two findings the same incident, at however many addresses."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an endpoint stands after a scan."""

    endpoint_id: int
    verdict: Verdict
    summary: Summary

    @property
    def reached(self) -> bool:
        """Whether every address was known and gave a certificate. Where one did not, nothing that was wrong is taken for cured."""
        return not self.verdict.scan.partial and all(judged.observation.failure is None for judged in self.verdict.addresses)

    @property
    def bad(self) -> dict[Key, Finding]:
        """What people are told of: every error, and every end that comes near; the worst of a kind speaks for it."""
        told = [
            finding
            for finding in self.verdict.findings
            if finding.status is Status.ERROR or (finding.check == EXPIRING and not finding.unknown)
        ]
        return {(finding.check, finding.certificate): finding for finding in reversed(told)}


def follow_up(session: Session, standings: Sequence[Standing], *, now: datetime) -> None:
    """Move every live watch of these endpoints to its state, open and close its incidents, and write the notices."""
    by_endpoint = {standing.endpoint_id: standing for standing in standings}
    watches = [
        watch
        for watch in session.scalars(
            sa.select(Watch).where(Watch.endpoint_id.in_(by_endpoint), Watch.deleted_at.is_(None)).order_by(Watch.id).with_for_update()
        )
        if watch.since_at <= by_endpoint[watch.endpoint_id].verdict.scan.scanned_at  # what was seen before it began is not its own
    ]
    open_incidents: dict[int, dict[Key, Incident]] = {watch.id: {} for watch in watches}
    rows = session.scalars(sa.select(Incident).where(Incident.watch_id.in_(open_incidents), Incident.closed_at.is_(None)))
    for incident in rows:
        open_incidents[incident.watch_id][incident.check, incident.certificate] = incident
    unsettled = _unsettled(session, by_endpoint, now)
    moves: Counter[tuple[int, str]] = Counter()
    changes: list[Change] = []
    for watch in watches:
        standing = by_endpoint[watch.endpoint_id]
        _move(watch, standing.summary, moves)
        seen_whole = standing.reached and watch.endpoint_id not in unsettled
        changes.append(_incidents(session, watch, standing, open_incidents[watch.id], seen_whole=seen_whole, now=now))
    session.flush()
    move_tallies(session, moves)
    settle_notices(session, changes, now=now)
    write_notices(session, changes, now=now)


def close_incidents(session: Session, watch_ids: Sequence[int], now: datetime) -> None:
    """End the incidents of watches that nobody watches any more. Nobody is told that they are well again: that is not known."""
    session.execute(
        sa.update(Incident)
        .where(Incident.watch_id.in_(watch_ids), Incident.closed_at.is_(None))
        .values(closed_at=now, removed=True, cleared_at=now)
    )


def _move(watch: Watch, summary: Summary, moves: Counter[tuple[int, str]]) -> None:
    if watch.state != summary.state:
        moves[watch.account_id, watch.state] -= 1
        moves[watch.account_id, summary.state] += 1
        watch.state, watch.rank = summary.state, STATES.index(summary.state)
    ends_at = summary.ends_at or (watch.ends_at if summary.state == "unk" else NO_END)
    watch.ends_at, watch.sentence = min(ends_at, NO_END), summary.sentence


def _unsettled(session: Session, endpoint_ids: Collection[int], now: datetime) -> set[int]:
    """Endpoints of which an address went away a short while ago.

    Names that answer with a few of their addresses at a time are common: what was wrong at one of them is not cured because the next
    answer leaves it out.
    """
    where = (Current.endpoint_id.in_(endpoint_ids), Current.gone_at > now - SETTLES, Current.address != "")
    return set(session.scalars(sa.select(Current.endpoint_id).where(*where)))


def _incidents(
    session: Session, watch: Watch, standing: Standing, known: dict[Key, Incident], *, seen_whole: bool, now: datetime
) -> Change:
    opened: list[tuple[Incident, Finding]] = []
    still: list[tuple[Incident, Finding]] = []
    for key, finding in standing.bad.items():
        incident = known.pop(key, None)
        if incident is not None:
            incident.severity, incident.message = finding.severity.value, finding.message
            still.append((incident, finding))
            continue
        incident = Incident(
            ref=new_ref(), account_id=watch.account_id, watch_id=watch.id, check=finding.check, certificate=finding.certificate,
            severity=finding.severity.value, message=finding.message, opened_at=now, closed_at=None, cleared_at=None,
        )  # fmt: skip
        session.add(incident)
        opened.append((incident, finding))
    closed = list(known.values()) if seen_whole else []
    for incident in closed:
        incident.closed_at = now
    leaves = frozenset(str(judged.leaf.sha256) for judged in standing.verdict.addresses if judged.leaf is not None)
    well = seen_whole and not standing.bad
    return Change(watch, tuple(opened), tuple(still), tuple(closed), leaves=leaves, well=well, ends_at=standing.summary.ends_at)
