"""What people choose for themselves about how pages look."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.policy import Actor, Refused, require_person
from core.render import LANGUAGES, time_zones
from core.store.preferences import Preferences


def choose_dates(session: Session, actor: Actor, *, time_zone: str, dates: str, now: datetime) -> None:
    """Show times in this zone, and dates as this language writes them. Raises Refused for what there is not."""
    user_id = require_person(actor)
    if time_zone not in time_zones():
        raise Refused("There is no such time zone. Choose one of the list, as Europe/Prague. Nothing was changed.", "time_zone")
    if dates not in LANGUAGES:
        raise Refused("Dates are not written that way here. Choose one of the list. Nothing was changed.", "dates")
    chosen = session.get(Preferences, user_id) or Preferences(user_id=user_id)
    chosen.time_zone, chosen.dates = time_zone, dates
    session.add(chosen)
    session.flush()
    append(session, Event("dates.chosen.v1", now, actor.name))
