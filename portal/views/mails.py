"""Mails: what people of the account were told, what became of each message, and letters of its owners' that did not arrive."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Actor, Permission, allows, require
from core.store.told import told
from core.store.undelivered import Undelivered, undelivered_letters
from portal.cursors import place_after, read_place
from portal.gate import gate
from portal.html import page
from portal.parts import reading

views = Blueprint("mails", __name__, url_prefix="/mails")
_ROWS = 30
_LOST = 20


@views.get("/")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The account's messages, newest first."""
    until, skip = read_place(request.args.get("before", ""))
    rows = told(reading(), require(actor, Permission.READ), until=until, skip=skip, most=_ROWS + 1)
    shown = rows[:_ROWS]
    older = place_after([row.created_at for row in shown], until, skip) if len(rows) > _ROWS else ""
    lost: tuple[Undelivered, ...] = ()
    if until is None and allows(actor.role, Permission.MANAGE_TEAM):
        lost = undelivered_letters(reading(), require(actor, Permission.READ), most=_LOST)
    return page("mails/show.html", tab="mails", rows=shown, older=older, first=until is None, lost=lost)
