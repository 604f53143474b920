"""The second factor: asked for between password and portal, and set up or given up on the page about security."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.accounts import token_sha256
from core.actions.factors import begin_app, confirm_app, give_up_app, new_codes, pass_factor
from core.actions.policy import Actor, Permission, Refused
from core.passkeys import site_of
from core.store.accounts import SignedIn
from core.store.factors import HalfSignedIn, factor_of, half_signed_in
from core.store.passkeys import passkeys_of
from portal import proof
from portal.callers import caller
from portal.factors_shown import factors_page
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import FACTOR, SIGN_IN, half, let_in, let_out, person, safe_next
from portal.limits import by_address
from portal.parts import acting, now, parts, reading

views = Blueprint("factors", __name__)
_WRONG: Final = "This code is not right, or was used before. Type the one that your app shows now, or a recovery code."
DEMO: Final = "This is a demonstration: it has no second factor, since the button on the sign-in page gets by without."


@views.get(FACTOR)
def show_code() -> ResponseReturnValue:
    """The question for the code; to the sign-in page for who is not half signed in."""
    if half_in() is None:
        return redirect(SIGN_IN, 303)
    return _question(safe_next(request.args.get("next", "/")))


@views.post(FACTOR)
@by_address
def code() -> ResponseReturnValue:
    """Sign in whole, or ask again."""
    onward = safe_next(request.form.get("next", "/"))
    token, stay = half()
    try:
        with acting() as session:
            fresh = pass_factor(
                session, token_sha256=token_sha256(token), code=request.form.get("code", "")[:64],
                keys=parts().keys, now=now(), caller=caller(), stay=stay,
            )  # fmt: skip
    except Refused as refused:
        if refused.field:
            return _question(onward, error=str(refused))
        let_out()
        tell("bad", str(refused))
        return redirect(SIGN_IN, 303)
    if fresh is None:
        return _question(onward, error=_WRONG)
    return let_in(fresh, onward)


@views.get("/security/app")
@gate(Permission.SEE_SELF)
def show(actor: Actor) -> ResponseReturnValue:
    """The second factor as it is, or the one that is being set up."""
    return factors_page(actor)


@views.post("/security/app/begin")
@by_address
@gate(Permission.CHANGE_SELF)
def begin(actor: Actor) -> ResponseReturnValue:
    """Begin to set an app up."""
    checked = proof.typed("proof")
    try:
        if parts().demo:
            raise Refused(DEMO)  # noqa: TRY301 - told like every other refusal
        with acting() as session:
            begin_app(session, actor, checked=checked, keys=parts().keys, now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    return redirect("/security/app", 303)


@views.post("/security/app/confirm")
@by_address
@gate(Permission.CHANGE_SELF)
def confirm(actor: Actor) -> ResponseReturnValue:
    """The app counts once it showed a right code. The recovery codes are shown once."""
    try:
        with acting() as session:
            typed = request.form.get("code", "")[:64]
            codes = confirm_app(session, actor, keys=parts().keys, code=typed, keep=_own().session_id, now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    return factors_page(actor, codes=codes)


@views.post("/security/app/codes")
@by_address
@gate(Permission.CHANGE_SELF)
def codes(actor: Actor) -> ResponseReturnValue:
    """Ten new recovery codes, shown once."""
    checked = proof.typed("codes_proof")
    try:
        with acting() as session:
            fresh = new_codes(session, actor, checked=checked, now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    return factors_page(actor, codes=fresh)


@views.post("/security/app/remove")
@by_address
@gate(Permission.CHANGE_SELF)
def remove(actor: Actor) -> ResponseReturnValue:
    """Sign in without the app from now on."""
    checked = proof.typed("proof")
    try:
        with acting() as session:
            give_up_app(session, actor, checked=checked, now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    tell("ok", "The app is gone: KeyChest asks for its codes no more.")
    return redirect("/security/app", 303)


def half_in() -> HalfSignedIn | None:
    """Who is half signed in."""
    token, _ = half()
    return half_signed_in(reading(), token_sha256(token), now()) if token else None


def _question(onward: str, *, error: str = "") -> ResponseReturnValue:
    theirs = half_in()
    app = theirs is not None and factor_of(reading(), theirs.user_id) is not None
    passkeys = theirs is not None and site_of(parts().public_url) is not None and bool(passkeys_of(reading(), theirs.user_id))
    return page("factors/code.html", status=422 if error else 200, onward=onward, error=error, app=app, passkeys=passkeys)


def _own() -> SignedIn:
    return found(person())
