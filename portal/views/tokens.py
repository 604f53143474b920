"""API tokens: what programs read the account with. Made, listed and revoked here; shown once."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.api_tokens import LIFETIMES, LONGEST_NAME, SCOPES, NewToken, make_token, revoke_token
from core.actions.policy import Actor, Permission, Refused, require
from core.store.tokens import tokens_of
from portal.gate import found, gate
from portal.html import page, tell
from portal.parts import acting, now, reading

views = Blueprint("tokens", __name__, url_prefix="/tokens")
_WORDS: Final = {"read:domains": "Domains and how they stand", "read:certificates": "Certificates that are served"}
_DAYS: Final = "90"


@views.get("")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("")
@gate(Permission.MAKE_TOKENS)
def make(actor: Actor) -> ResponseReturnValue:
    """Make a token. The answer is the one page that shows it."""
    days = request.form.get("days", "")
    scopes = request.form.getlist("scope")
    try:
        with acting() as session:
            lasts = int(days) if days in map(str, LIFETIMES) else 0
            made = make_token(session, actor, name=request.form.get("name", ""), days=lasts, scopes=scopes, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    return _page(actor, made=made)


@views.post("/revoke")
@gate(Permission.MAKE_TOKENS)
def revoke(actor: Actor) -> ResponseReturnValue:
    """Revoke one token."""
    with acting() as session:
        name = revoke_token(session, actor, ref=request.form.get("ref", ""), now=now())
    tell("ok", f"The token {found(name)} was revoked. It reads nothing any more.")
    return redirect("/tokens", 303)


def _page(actor: Actor, *, refused: Refused | None = None, made: NewToken | None = None) -> ResponseReturnValue:
    mine = None if actor.role == "owner" else actor.user_id
    typed = request.form if refused is not None else None
    return page(
        "tokens/show.html",
        status=200 if refused is None else 422,
        tokens=tokens_of(reading(), require(actor, Permission.READ), now(), user_id=mine),
        made=made,
        name=typed.get("name", "") if typed is not None else "",
        days=typed.get("days", _DAYS) if typed is not None else _DAYS,
        chosen=typed.getlist("scope") if typed is not None else list(SCOPES),
        errors={"name": "", "days": "", "scope": ""} | ({refused.field: str(refused)} if refused is not None else {}),
        lifetimes=LIFETIMES,
        words=_WORDS,
        longest=LONGEST_NAME,
    )
