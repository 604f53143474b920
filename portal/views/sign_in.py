"""Setting up, choosing a password, signing in and out."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from core.actions.accounts import Kind, accept_welcome, open_link, set_up_operator, sign_in, sign_out
from core.actions.passwords import PASSWORD_LEAST, PasswordHash, check_password, hash_password, kept_of
from core.actions.policy import Refused
from core.passkeys import site_of
from portal.callers import caller
from portal.html import page
from portal.identity import SIGN_IN, let_in, let_out, person, safe_next, who
from portal.limits import by_address, by_person, by_person_and_network
from portal.parts import acting, looking, now, parts, reading

views = Blueprint("sign_in", __name__)
_WRONG = "This address and password do not go together. Look at both, and type the password again."


@views.get(SIGN_IN)
def show() -> ResponseReturnValue:
    """The form, or onward who is signed in already."""
    onward = safe_next(request.args.get("next", "/"))
    if current_user.is_authenticated:
        return redirect(onward, 303)
    return _form(onward)


@views.post(SIGN_IN)
@by_address
@by_person_and_network
@by_person
def enter() -> ResponseReturnValue:
    """Sign in. A wrong address and a wrong password are answered alike."""
    onward = safe_next(request.form.get("next", "/"))
    email = request.form.get("email", "")
    with looking() as session:
        kept = kept_of(session, email)
    checked = check_password(kept, request.form.get("password", ""))
    with acting() as session:
        fresh = sign_in(session, checked=checked, now=now(), caller=caller(), stay="stay" in request.form)
    if fresh is None:
        return _form(onward, email=email, error=_WRONG, status=422)
    return let_in(fresh, onward)


@views.post("/sign-out")
def leave() -> ResponseReturnValue:
    """End the sign-in on the server, and forget it in the browser."""
    signed_in, actor = person(), who()
    if signed_in is not None and actor is not None:
        with acting() as session:
            sign_out(session, actor, session_id=signed_in.session_id, now=now())
    let_out()
    return redirect(SIGN_IN, 303)


@views.get("/setup/<token>")
def show_setup(token: str) -> ResponseReturnValue:
    """The form by which the first operator sets the installation up."""
    return _first_form("setup", usable=_usable("setup", token))


@views.post("/setup/<token>")
@by_address
def set_up(token: str) -> ResponseReturnValue:
    """Make the first operator, signed in."""
    email = request.form.get("email", "")
    try:
        password_hash = _chosen("setup", token)
        with acting() as session:
            fresh = set_up_operator(session, token=token, email=email, password_hash=password_hash, now=now(), caller=caller())
    except Refused as refused:
        return _first_form("setup", usable=bool(refused.field), email=email, refused=refused)
    return let_in(fresh, "/domains")


@views.get("/welcome/<token>")
def show_welcome(token: str) -> ResponseReturnValue:
    """The form by which a new user chooses a password."""
    return _first_form("welcome", usable=_usable("welcome", token))


@views.post("/welcome/<token>")
@by_address
def welcome(token: str) -> ResponseReturnValue:
    """Keep the password, and sign in."""
    try:
        password_hash = _chosen("welcome", token)
        with acting() as session:
            fresh = accept_welcome(session, token=token, password_hash=password_hash, now=now(), caller=caller())
    except Refused as refused:
        return _first_form("welcome", usable=bool(refused.field), refused=refused)
    return let_in(fresh)


def _chosen(kind: Kind, token: str) -> PasswordHash:
    """The hash of the password that was typed, made for the holder of a link only. Raises Refused."""
    with looking() as session:
        open_link(session, kind, token=token, now=now())
    return hash_password(request.form.get("password", ""))


def _usable(kind: Kind, token: str) -> bool:
    try:
        open_link(reading(), kind, token=token, now=now())
    except Refused:
        return False
    return True


def _form(onward: str, *, email: str = "", error: str = "", status: int = 200) -> ResponseReturnValue:
    demo, sign_up = parts().demo, parts().sign_up
    passkeys = demo is None and site_of(parts().public_url) is not None
    found = parts().provider if demo is None else None
    return page(
        "sign_in/page.html", status=status, onward=onward, email=email, error=error, demo=demo, sign_up=sign_up, passkeys=passkeys,
        provider=found.name if found is not None else "",
    )  # fmt: skip


def _first_form(kind: Kind, *, usable: bool, email: str = "", refused: Refused | None = None) -> ResponseReturnValue:
    errors = {refused.field: str(refused)} if refused is not None else {}
    status = 422 if refused is not None else 200 if usable else 404
    return page("sign_in/first.html", status=status, kind=kind, usable=usable, email=email, errors=errors, least=PASSWORD_LEAST)
