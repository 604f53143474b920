"""A person's own password and sign-ins: change the one, look through the others and end them."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.accounts import change_password, end_sign_ins
from core.actions.doors import ask_new_email
from core.actions.passwords import PASSWORD_LEAST, hash_password
from core.actions.policy import Actor, Permission, Refused, require_person
from core.actions.preferences import choose_dates
from core.render import LANGUAGES, plural, time_zones
from core.store.accounts import SignedIn, own_sign_ins
from core.store.attempts import KEPT_FOR, attempts_on
from core.store.factors import has_factor
from portal import proof
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import person
from portal.limits import by_address
from portal.parts import acting, now, parts, reading

views = Blueprint("sign_ins", __name__, url_prefix="/security")
_SHOWN = 30
_ATTEMPTS = 5
_DEMO_EMAIL = "This is a demonstration: its address stays as it is, since the button on the sign-in page uses it."
_DEMO = "This is a demonstration: its password stays as it is, since the button on the sign-in page uses it."


@views.get("")
@gate(Permission.SEE_SELF)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("/end")
@gate(Permission.CHANGE_SELF)
def end(actor: Actor) -> ResponseReturnValue:
    """End the sign-ins that were chosen, or all others."""
    refs = None if "others" in request.form else request.form.getlist("ref")[:_SHOWN]
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
        return _page(actor, refused)
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
        return _page(actor, refused)
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
        return _page(actor, refused)
    tell("ok", "Times and dates are shown that way from now on.")
    return redirect("/security", 303)


def _own() -> SignedIn:
    return found(person())


def _page(actor: Actor, refused: Refused | None = None) -> ResponseReturnValue:
    own = own_sign_ins(reading(), require_person(actor), current_id=_own().session_id, now=now(), most=_SHOWN)
    return page(
        "sign_ins/show.html",
        status=200 if refused is None else 422,
        held=[each for each in own if not each.over],
        past=[each for each in own if each.over],
        typed=request.form.get("email", "") if refused is not None else "",
        errors={"current": "", "password": "", "email": "", "proof": "", "time_zone": "", "dates": ""}
        | ({refused.field: str(refused)} if refused is not None else {}),
        least=PASSWORD_LEAST,
        zones=time_zones(),
        languages=LANGUAGES,
        factor=has_factor(reading(), require_person(actor)),
        attempts=attempts_on(reading(), require_person(actor), now() - KEPT_FOR, most=_ATTEMPTS),
    )
