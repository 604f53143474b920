"""Accepting an invitation: the link says what is offered, and by it a person joins, new to the installation or not."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.accounts import token_sha256
from core.actions.passwords import PASSWORD_LEAST, hash_password
from core.actions.policy import Refused
from core.actions.team import join, join_as_new
from core.store.teams import offer
from portal.callers import caller
from portal.html import page, tell
from portal.identity import let_in, person, who
from portal.limits import by_address
from portal.parts import acting, looking, now, parts, reading

views = Blueprint("invitations", __name__, url_prefix="/invitation")


@views.get("/<token>")
def show(token: str) -> ResponseReturnValue:
    """What is offered, and the way to accept it."""
    return _page(token)


@views.post("/<token>")
@by_address
def accept(token: str) -> ResponseReturnValue:
    """Join: as the person who is signed in, or as a new one with the password that was typed."""
    actor, signed_in = who(), person()
    try:
        if actor is None or signed_in is None:
            return _new(token)
        with acting() as session:
            name = join(session, actor, token=token, sign_in_id=signed_in.session_id, now=now())
    except Refused as refused:
        return _page(token, refused)
    tell("ok", f"You belong to {name} now, and are looking at it.")
    return redirect("/", 303)


def _new(token: str) -> ResponseReturnValue:
    """Raises Refused; the password is hashed for the holder of a link only."""
    with looking() as session:
        offered = offer(session, token_sha256(token), now())
    if offered is None or offered.known:
        return _page(token, Refused("", "closed"))
    password_hash = hash_password(request.form.get("password", ""))
    with acting() as session:
        fresh = join_as_new(
            session, token=token, password_hash=password_hash, now=now(), caller=caller(), closed=parts().sign_up == "closed"
        )
    return let_in(fresh)


def _page(token: str, refused: Refused | None = None) -> ResponseReturnValue:
    offered = offer(reading(), token_sha256(token), now())
    status = 422 if refused is not None else 200 if offered is not None else 404
    errors = {refused.field: str(refused)} if refused is not None else {}
    path = f"/invitation/{token}"
    return page("invitations/show.html", status=status, offered=offered, path=path, errors=errors, least=PASSWORD_LEAST)
