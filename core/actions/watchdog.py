"""What the watchdog tells the public by itself: it opens incidents for what lasts, publishes them after a while, and ends them.

An operator may publish one before its time, keep it back, and add to it: what a person said of it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, require_worker
from core.actions.public_words import make_public, said_of, say
from core.status.faults import Fault
from core.store.base import new_ref
from core.store.public_incidents import DISTURBED, IMPACTS, PublicIncident

OPEN_AFTER: Final = timedelta(minutes=3)
"""What is over sooner is no incident."""
QUIET_FOR: Final = timedelta(minutes=2)
"""So long it must not be seen before it is over."""
SAME_WITHIN: Final = timedelta(minutes=10)
"""What is back sooner is the same incident."""
_OVER: Final = "Our own measuring finds nothing wrong any more."
_BACK: Final = "It is back. "
_STILL: Final = "Our own measuring finds it still. "
_WORSE: Final = "It got worse. "


def watch_public_incidents(session: Session, actor: Actor, seen: Sequence[Fault], *, delay: timedelta, now: datetime) -> None:
    """Bring incidents in line with what is seen now, and publish those whose time has come. `delay`: from opening to publishing."""
    require_worker(actor)
    known = _known(session, now)
    for fault in seen:
        incident = known.get(fault.key)
        if incident is not None and _same(incident, fault):
            _see_again(session, actor, incident, fault, now)
        elif not fault.holds and now - fault.since >= OPEN_AFTER:
            _open(session, actor, fault, now + delay, now)
    there = {fault.key for fault in seen}
    for incident in known.values():
        if incident.automatic not in there and incident.ended_at is None:
            _miss(session, actor, incident, now)
    due = (PublicIncident.publish_at <= now, PublicIncident.published_at.is_(None), PublicIncident.withheld_at.is_(None))
    for incident in session.scalars(sa.select(PublicIncident).where(*due).order_by(PublicIncident.id).with_for_update()).all():
        make_public(session, incident, now=now)
        append(session, Event("public_incident.published.v1", now, actor.name, public=said_of(incident)))
    session.flush()


def _known(session: Session, now: datetime) -> dict[str, PublicIncident]:
    """The newest of the watchdog's own by key: open, or over so lately that it would be the same; held until the transaction ends."""
    lately = sa.or_(PublicIncident.ended_at.is_(None), PublicIncident.ended_at >= now - 2 * SAME_WITHIN)
    wanted = sa.select(PublicIncident).where(PublicIncident.automatic != "", lately).order_by(PublicIncident.id).with_for_update()
    return {each.automatic: each for each in session.scalars(wanted.execution_options(populate_existing=True))}


def _same(incident: PublicIncident, fault: Fault) -> bool:
    return incident.ended_at is None or fault.since - incident.ended_at <= SAME_WITHIN


def _open(session: Session, actor: Actor, fault: Fault, publish_at: datetime, now: datetime) -> None:
    incident = PublicIncident(
        ref=new_ref(),
        title=fault.title,
        impact=fault.impact,
        state=DISTURBED[0],
        components=list(fault.components),
        automatic=fault.key,
        opened_at=now,
        changed_at=now,
        publish_at=publish_at,
        published_at=None,
        withheld_at=None,
        ended_at=None,
        planned_from=None,
        planned_until=None,
        quiet_since=None,
    )
    say(session, incident, state=DISTURBED[0], words=fault.words, now=now)
    append(session, Event("public_incident.opened.v1", now, actor.name, public=said_of(incident)))


def _see_again(session: Session, actor: Actor, incident: PublicIncident, fault: Fault, now: datetime) -> None:
    """It goes on; or is back so soon, and for so long, that it is the same one; or got worse."""
    incident.quiet_since = None
    if fault.holds:
        return
    worse = IMPACTS.index(fault.impact) > IMPACTS.index(incident.impact)
    if incident.ended_at is not None and _is_back(incident.ended_at, fault, now):
        words, state = (_BACK if fault.since > incident.ended_at else _STILL) + fault.words, DISTURBED[0]
        incident.ended_at = None
    elif incident.ended_at is None and worse:
        words, state = _WORSE + fault.words, incident.state
    else:
        return
    incident.impact = fault.impact if worse else incident.impact
    say(session, incident, state=state, words=words, now=now)
    append(session, Event("public_incident.updated.v1", now, actor.name, public=said_of(incident)))


def _is_back(ended_at: datetime, fault: Fault, now: datetime) -> bool:
    """It lasts again; or it was said to be over while it went on, and goes on still a good while later."""
    return now - fault.since >= OPEN_AFTER if fault.since > ended_at else now - ended_at >= SAME_WITHIN


def _miss(session: Session, actor: Actor, incident: PublicIncident, now: datetime) -> None:
    """It is not seen now; after a while it is over."""
    incident.quiet_since = incident.quiet_since or now
    if now - incident.quiet_since < QUIET_FOR:
        return
    incident.ended_at = now
    say(session, incident, state=DISTURBED[-1], words=_OVER, now=now)
    append(session, Event("public_incident.resolved.v1", now, actor.name, public=said_of(incident)))
