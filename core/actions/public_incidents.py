"""What operators tell the public: disturbances from their opening to their account, and planned work.

Nobody does any of it without a second factor, in development neither; who has the terminal has all. A text in which a name stands that
an account watches, or the address of a person, is refused, unless who writes it says that it is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, NotAllowed, Permission, Refused, require_installation
from core.actions.public_words import (
    ACCOUNT_MOST,
    fit_components,
    fit_impact,
    fit_title,
    fit_words,
    make_public,
    refuse_names,
    said_of,
    say,
)
from core.store.base import new_ref
from core.store.factors import has_factor
from core.store.public_incidents import DISTURBED, PLANNED, PublicIncident, PublicUpdate


def open_public_incident(
    session: Session,
    actor: Actor,
    *,
    title: str,
    words: str,
    impact: str,
    components: Sequence[str],
    anyway: bool = False,
    now: datetime,
) -> str:
    """Tell the public of a disturbance, at once; its reference. Raises Refused. `anyway`: a name in it is meant."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _made(fit_title(title), fit_impact(impact), fit_components(components), DISTURBED[0], now)
    said = fit_words(words)
    refuse_names(session, incident.title, said, anyway=anyway)
    incident.published_at = now
    say(session, incident, state=DISTURBED[0], words=said, now=now)
    append(session, Event("public_incident.opened.v1", now, actor.name, public=said_of(incident)))
    append(session, Event("public_incident.published.v1", now, actor.name, public=said_of(incident)))
    return incident.ref


def plan_maintenance(
    session: Session,
    actor: Actor,
    *,
    title: str,
    words: str,
    components: Sequence[str],
    planned_from: datetime,
    planned_until: datetime,
    anyway: bool = False,
    now: datetime,
) -> str:
    """Tell the public of work before it begins; its reference. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    if not (planned_from < planned_until and planned_until > now):
        raise Refused("The work ends after it begins, and not before now. Nothing was changed.", "until")
    incident = _made(fit_title(title), "none", fit_components(components), PLANNED[0], now)
    said = fit_words(words)
    refuse_names(session, incident.title, said, anyway=anyway)
    incident.planned_from, incident.planned_until, incident.published_at = planned_from, planned_until, now
    say(session, incident, state=PLANNED[0], words=said, now=now)
    append(session, Event("public_incident.planned.v1", now, actor.name, public=said_of(incident)))
    return incident.ref


def update_public_incident(
    session: Session, actor: Actor, *, ref: str, state: str, words: str, impact: str = "", anyway: bool = False, now: datetime
) -> None:
    """Say how it goes on. `impact` "" leaves it as it is. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _going_on(session, ref)
    states = (PLANNED if incident.planned_from else DISTURBED)[:-1]
    if state not in states:
        raise Refused(f"Choose how it stands: {', '.join(states)}. When it is over, resolve it. Nothing was changed.", "state")
    said = fit_words(words)
    refuse_names(session, said, anyway=anyway)
    incident.impact = fit_impact(impact or incident.impact)
    say(session, incident, state=state, words=said, now=now)
    append(session, Event("public_incident.updated.v1", now, actor.name, public=said_of(incident)))


def resolve_public_incident(session: Session, actor: Actor, *, ref: str, words: str, anyway: bool = False, now: datetime) -> None:
    """It is over. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _going_on(session, ref)
    said = fit_words(words)
    refuse_names(session, said, anyway=anyway)
    incident.ended_at = now
    say(session, incident, state=(PLANNED if incident.planned_from else DISTURBED)[-1], words=said, now=now)
    append(session, Event("public_incident.resolved.v1", now, actor.name, public=said_of(incident)))


def publish_public_incident(session: Session, actor: Actor, *, ref: str, anyway: bool = False, now: datetime) -> None:
    """Make public now what the watchdog opened, also what was kept back. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _held(session, ref)
    if incident.published_at is not None:
        raise Refused("It is public already. Nothing was changed.", "ref")
    words = session.scalars(sa.select(PublicUpdate.words).where(PublicUpdate.incident_id == incident.id)).all()
    refuse_names(session, incident.title, *words, anyway=anyway)
    make_public(session, incident, now=now)
    append(session, Event("public_incident.published.v1", now, actor.name, public=said_of(incident)))


def withhold_public_incident(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """Keep back what the watchdog opened: it does not become public by itself. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _held(session, ref)
    if incident.published_at is not None:
        raise Refused("It is public, and what was said stays said. Update or resolve it. Nothing was changed.", "ref")
    if incident.withheld_at is not None:
        raise Refused("It is kept back already. Nothing was changed.", "ref")
    incident.withheld_at = incident.changed_at = now
    append(session, Event("public_incident.withheld.v1", now, actor.name, public=said_of(incident)))


def write_post_mortem(session: Session, actor: Actor, *, ref: str, account: str, anyway: bool = False, now: datetime) -> None:
    """Tell the public what had happened, why, and what will be different; what was written before is replaced. Raises Refused."""
    require_installation(actor, Permission.OPERATE)
    _require_factor(session, actor)
    incident = _held(session, ref)
    if incident.published_at is None or incident.ended_at is None:
        raise Refused("An account is written of what is public and over. Nothing was changed.", "ref")
    said = fit_words(account, most=ACCOUNT_MOST, field="account")
    refuse_names(session, said, anyway=anyway)
    incident.account, incident.changed_at = said, now
    append(session, Event("public_incident.accounted.v1", now, actor.name, public=said_of(incident)))


def _require_factor(session: Session, actor: Actor) -> None:
    """Raises NotAllowed for a person who has none: what is public is believed."""
    if not actor.terminal and (actor.user_id is None or not has_factor(session, actor.user_id)):
        raise NotAllowed(
            "Nobody tells the public anything without a second factor. Set one up under Security, in the menu under your name.", "factor"
        )


def _made(title: str, impact: str, components: list[str], state: str, now: datetime) -> PublicIncident:
    return PublicIncident(
        ref=new_ref(),
        title=title,
        impact=impact,
        state=state,
        components=components,
        opened_at=now,
        changed_at=now,
        publish_at=None,
        published_at=None,
        withheld_at=None,
        ended_at=None,
        planned_from=None,
        planned_until=None,
        quiet_since=None,
    )


def _held(session: Session, ref: str) -> PublicIncident:
    """The incident, held until the transaction ends. Raises Refused."""
    wanted = sa.select(PublicIncident).where(PublicIncident.ref == ref.strip())
    found = session.scalar(wanted.with_for_update().execution_options(populate_existing=True))
    if found is None:
        raise Refused("There is no incident with this reference. ./keychest incident list tells them. Nothing was changed.", "ref")
    return found


def _going_on(session: Session, ref: str) -> PublicIncident:
    incident = _held(session, ref)
    if incident.ended_at is not None:
        raise Refused("It is over already. Open another one if it is back. Nothing was changed.", "ref")
    return incident
