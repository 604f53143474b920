"""What the public is told, for those who run the installation: what is open, what waits to become public, and how to say more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, Refused, require_installation
from core.actions.public_incidents import (
    open_public_incident,
    plan_maintenance,
    publish_public_incident,
    resolve_public_incident,
    update_public_incident,
    withhold_public_incident,
    write_post_mortem,
)
from core.status.ready import READY, Ready
from core.status.told import COMPONENTS
from core.store.factors import has_factor
from core.store.public_incidents import IMPACTS, incidents_in_hand, incidents_over, one_incident, subscribers_counted
from portal.gate import found, gate
from portal.html import page, tell
from portal.parts import acting, now, reading

views = Blueprint("operations_status", __name__, url_prefix="/operations/status")
_OVER: Final = 20
_FIELDS: Final = ("title", "words", "impact", "state", "from", "until", "account", "ref", "anyway", "components", "")
_ACTS: Final[Mapping[str, tuple[Callable[..., None], tuple[str, ...], str]]] = {
    "publish": (publish_public_incident, (), "It is public, and on its way to who asked for mails."),
    "withhold": (withhold_public_incident, (), "It is kept back: it does not become public by itself."),
    "update": (update_public_incident, ("state", "impact", "words"), "What you wrote is public with the incident."),
    "resolve": (resolve_public_incident, ("words",), "It is over."),
    "account": (write_post_mortem, ("account",), "The account is public."),
}
"""What can be done with one: the action, the fields it takes, and what is told afterwards."""


@views.get("")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """The page; `ready` fills a form with a text to begin with."""
    return _page(actor, next((each for each in READY if each.key == request.args.get("ready")), None))


@views.post("/open")
@gate(Permission.OPERATE)
def begin(actor: Actor) -> ResponseReturnValue:
    """Tell the public of a disturbance."""
    try:
        with acting() as session:
            ref = open_public_incident(session, actor, impact=request.form.get("impact", ""), **_typed(), now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("ok", "It is public, and on its way to who asked for mails.")
    return redirect(f"/operations/status/{ref}", 303)


@views.post("/plan")
@gate(Permission.OPERATE)
def plan(actor: Actor) -> ResponseReturnValue:
    """Tell the public of work before it begins."""
    try:
        begins, ends = _time("from"), _time("until")
        with acting() as session:
            ref = plan_maintenance(session, actor, planned_from=begins, planned_until=ends, **_typed(), now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("ok", "The work is announced, and on its way to who asked for mails.")
    return redirect(f"/operations/status/{ref}", 303)


@views.get("/<ref>")
@gate(Permission.SEE_OPERATIONS)
def show_one(actor: Actor, ref: str) -> ResponseReturnValue:
    """One incident."""
    return _one(actor, ref)


@views.post("/<ref>/<any(publish, withhold, update, resolve, account):act>")
@gate(Permission.OPERATE)
def change(actor: Actor, ref: str, act: str) -> ResponseReturnValue:
    """Publish it, keep it back, say how it goes on, end it, or tell what had happened."""
    action, fields, done = _ACTS[act]
    given: dict[str, Any] = {name: request.form.get(name, "") for name in fields}
    if act != "withhold":
        given["anyway"] = "anyway" in request.form
    try:
        with acting() as session:
            action(session, actor, ref=ref, **given, now=now())
    except Refused as refused:
        return _one(actor, ref, act, refused)
    tell("ok", done)
    return redirect(f"/operations/status/{ref}", 303)


def _typed() -> dict[str, Any]:
    form = request.form
    return {
        "title": form.get("title", ""),
        "words": form.get("words", ""),
        "components": form.getlist("components"),
        "anyway": "anyway" in form,
    }


def _time(field: str) -> datetime:
    """What was typed, in UTC. Raises Refused."""
    try:
        return datetime.fromisoformat(request.form.get(field, "")).replace(tzinfo=UTC)
    except ValueError:
        raise Refused("Write day and time in UTC, like 2026-11-30 22:00. Nothing was changed.", field) from None


def _page(actor: Actor, ready: Ready | None = None, refused: Refused | None = None) -> ResponseReturnValue:
    require_installation(actor, Permission.SEE_OPERATIONS)
    typed: dict[str, Any] = dict.fromkeys(("title", "words", "impact", "from", "until"), "")
    if refused is not None:
        typed |= {name: request.form.get(name, "") for name in typed} | {"components": request.form.getlist("components")}
    elif ready is not None:
        typed |= {"title": ready.title, "words": ready.words, "impact": ready.impact, "components": list(ready.components)}
    planning = request.path.endswith("/plan") if refused is not None else ready is not None and ready.planned
    return page(
        "operations/status.html",
        status=200 if refused is None else 422,
        tab="operations",
        at="status",
        act="",
        in_hand=sorted(incidents_in_hand(reading()), key=lambda each: (each.planned_from is not None, each.standing == "withheld")),
        over=incidents_over(reading(), _OVER),
        subscribers=subscribers_counted(reading()),
        ready=READY,
        typed={"components": []} | typed,
        filled="plan" if planning else "open" if ready is not None or refused is not None else "",
        **_frame(actor, refused),
    )


def _one(actor: Actor, ref: str, act: str = "", refused: Refused | None = None) -> ResponseReturnValue:
    require_installation(actor, Permission.SEE_OPERATIONS)
    incident = found(one_incident(reading(), ref))
    typed = {name: request.form.get(name, "") for name in ("words", "state", "impact", "account")}
    return page(
        "operations/status_one.html",
        status=200 if refused is None else 422,
        tab="operations",
        at="status",
        one=incident,
        act=act,
        typed=typed,
        **_frame(actor, refused),
    )


def _frame(actor: Actor, refused: Refused | None) -> dict[str, Any]:
    """What both pages need. `may_tell`: the person may write to the public, which takes a second factor."""
    operates = actor.installation_role == "operator" and actor.user_id is not None
    return {
        "components": COMPONENTS,
        "impacts": IMPACTS,
        "may_tell": operates and not actor.impersonating and has_factor(reading(), actor.user_id or 0),
        "operates": operates,
        "errors": dict.fromkeys(_FIELDS, "") | ({refused.field: str(refused)} if refused is not None else {}),
    }
