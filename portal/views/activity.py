"""What happened in an account, for those who belong to it: in full words, to be searched, and to be taken along with its proofs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from audit.activity_file import MOST, activity_file
from audit.asked import Told, keys_of, not_sealed_yet, told_to
from audit.published import PublishedLog, UnreadableError, published_logs
from audit.tables import OutboxEvent
from core.actions.activity import download_activity
from core.actions.policy import Actor, Permission, require, require_person
from core.store.teams import left_since, team
from portal.activity import GROUPS, Line, People, line
from portal.activity_asked import OTHER, read, without_place
from portal.gate import gate
from portal.html import page
from portal.identity import person
from portal.log_shown import coarse
from portal.parts import acting, let_go, looking, now, parts, reading

views = Blueprint("activity", __name__, url_prefix="/activity")
_ROWS: Final = 30
_WAITING: Final = 50
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@views.get("/")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The account's activity, newest first."""
    people = _people(reading(), require(actor, Permission.READ))
    asked = read(request.args, people)
    found = told_to(reading(), actor.account_ref, asked.wanted(people, _zone()), after=asked.after, most=_ROWS + 1)
    shown = found[:_ROWS]
    unsealed = not_sealed_yet(reading(), actor.account_ref, most=_WAITING) if not asked.any and asked.after is None else ()
    sizes = {log.number: log.checkpoint.size for log in _logs()}
    return page(
        "activity/show.html",
        tab="activity",
        asked=asked,
        people=people,
        groups=GROUPS,
        other=OTHER,
        most=MOST,
        waiting=[_waiting(each, people) for each in unsealed],
        rows=[(each, _line(each, people), coarse(each.index, each.body), each.index < sizes.get(each.log, 0)) for each in shown],
        older=asked.address((shown[-1].log, shown[-1].index)) if len(found) > _ROWS else "",
        newest=without_place(asked).address(None) if asked.after is not None else "",
    )


@views.post("/download")
@gate(Permission.READ)
def download(actor: Actor) -> ResponseReturnValue:
    """The newest entries that the filter leaves, with what opens and what proves them."""
    account_id = require(actor, Permission.READ)
    require_person(actor)  # who looks for others takes nothing along
    let_go()
    with looking() as session:
        people = _people(session, account_id)
        found = told_to(session, actor.account_ref, read(request.form, people).wanted(people, _zone()), most=MOST)
        made = activity_file(found, _logs(), lambda log: keys_of(session, log))
    with acting() as session:
        download_activity(session, actor, entries=len(made["entries"]), now=now())
    return _attached(made)


def _attached(made: dict[str, Any]) -> Response:
    named = f'attachment; filename="keychest-activity-{now():%Y-%m-%d}.json"'
    return Response(json.dumps(made, indent=1) + "\n", content_type="application/json", headers={"Content-Disposition": named})


def _people(session: Session, account_id: int) -> People:
    return People(team(session, account_id), left_since(session, account_id, _EVER))


def _zone() -> str:
    looks = person()
    return looks.time_zone if looks is not None else ""


def _logs() -> list[PublishedLog]:
    try:
        return published_logs(parts().log_folder)
    except UnreadableError:
        return []


def _line(told: Told, people: People) -> Line:
    return line(told.kind, told.actor, told.at, told.values, people)


def _waiting(event: OutboxEvent, people: People) -> Line:
    return line(event.kind, event.actor, event.at, event.public | event.private, people)
