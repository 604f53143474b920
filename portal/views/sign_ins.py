"""A person's own password and sign-ins: change the one, look through the others and end them."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.accounts import change_password, end_sign_ins
from core.actions.doors import ask_new_email
from core.actions.passwords import hash_password
from core.actions.policy import Actor, Permission, Refused
from core.actions.preferences import choose_dates
from core.render import plural
from core.store.accounts import SignedIn
from portal import proof
from portal.gate import found, gate
from portal.html import tell
from portal.identity import person
from portal.limits import by_address
from portal.parts import acting, now, parts
from portal.sign_ins_shown import SHOWN, security_page

views = Blueprint("sign_ins", __name__, url_prefix="/security")
_DEMO_EMAIL = "This is a demonstration: its address stays as it is, since the button on the sign-in page uses it."
_DEMO = "This is a demonstration: its password stays as it is, since the button on the sign-in page uses it."


@views.get("")
@gate(Permission.SEE_SELF)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return security_page(actor)


@views.post("/end")
@gate(Permission.CHANGE_SELF)
def end(actor: Actor) -> ResponseReturnValue:
    """End the sign-ins that were chosen, or all others."""
    refs = None if "others" in request.form else request.form.getlist("ref")[:SHOWN]
    with acting() as session:
        ended = end_sign_ins(session, actor, refs=refs, keep=_own().session_id, now=now())
    tell(
        "ok" if ended else "info",
        f"{plural(ended, 'sign-in')} ended." if ended else "Nothing was ended: there is no such sign-in any more.",
    )
    return redirect("/security", 303)


@views.post("/password")
@by_address
@gate(Permission.CHANGE_SELF)
def password(actor: Actor) -> ResponseReturnValue:
    """Change the password. Every other sign-in ends by it."""
    checked = proof.typed("current")
    try:
        if parts().demo:
            raise Refused(_DEMO, "current")  # noqa: TRY301 - told like every other refusal
        password_hash = hash_password(request.form.get("password", ""))
        with acting() as session:
            change_password(session, actor, checked=checked, password_hash=password_hash, keep=_own().session_id, now=now())
    except Refused as refused:
        return security_page(actor, refused)
    tell("ok", "The password was changed. Every other sign-in has ended.")
    return redirect("/security", 303)


@views.post("/email")
@by_address
@gate(Permission.CHANGE_SELF)
def email(actor: Actor) -> ResponseReturnValue:
    """Ask for another address: a mail goes to both, and it changes once both links were used."""
    checked = proof.typed("proof")
    try:
        if parts().demo:
            raise Refused(_DEMO_EMAIL, "email")  # noqa: TRY301 - told like every other refusal
        with acting() as session:
            ask_new_email(session, actor, checked=checked, email=request.form.get("email", ""), now=now())
    except Refused as refused:
        return security_page(actor, refused)
    tell("ok", "A mail is on its way to both addresses. The new one holds once the links in both were opened.")
    return redirect("/security", 303)


@views.post("/dates")
@gate(Permission.CHANGE_SELF)
def dates(actor: Actor) -> ResponseReturnValue:
    """Choose a time zone, and how dates are written."""
    try:
        with acting() as session:
            choose_dates(session, actor, time_zone=request.form.get("time_zone", ""), dates=request.form.get("dates", ""), now=now())
    except Refused as refused:
        return security_page(actor, refused)
    tell("ok", "Times and dates are shown that way from now on.")
    return redirect("/security", 303)


def _own() -> SignedIn:
    return found(person())
