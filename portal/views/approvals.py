"""Large removals that wait for a second person, and what became of those before."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, Refused, require
from core.actions.removals import approve, refuse
from core.render import plural
from core.store.approvals import decided, waiting
from portal.gate import gate
from portal.html import page, tell
from portal.parts import acting, now, reading

views = Blueprint("approvals", __name__, url_prefix="/approvals")


@views.get("")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("/approve")
@gate(Permission.REMOVE_DOMAINS)
def allow(actor: Actor) -> ResponseReturnValue:
    """Say yes, by which it happens."""
    try:
        with acting() as session:
            came = approve(session, actor, ref=request.form.get("ref", ""), now=now())
    except Refused as refused:
        return _page(actor, refused)
    if came.account:
        tell("ok", f"The account lies in the bin, with {plural(came.removed, 'name')}. Its owners can bring it back whole for 30 days.")
        return redirect("/account", 303)
    tell("ok", f"{plural(came.removed, 'name')} moved to the bin, kept there for 30 days.")
    return redirect("/approvals", 303)


@views.post("/refuse")
@gate(Permission.REMOVE_DOMAINS)
def deny(actor: Actor) -> ResponseReturnValue:
    """Say no, or take back what one asked for."""
    try:
        with acting() as session:
            refuse(session, actor, ref=request.form.get("ref", ""), now=now())
    except Refused as refused:
        return _page(actor, refused)
    tell("ok", "It stays as it is.")
    return redirect("/approvals", 303)


def _page(actor: Actor, refused: Refused | None = None) -> ResponseReturnValue:
    session, account_id, user_id = reading(), require(actor, Permission.READ), actor.user_id or 0
    return page(
        "approvals/show.html",
        status=200 if refused is None else 422,
        tab="approvals",
        waiting=waiting(session, account_id, user_id, now()),
        decided=decided(session, account_id, now()),
        error=str(refused or ""),
    )
