"""The second factor: asked for between password and portal, and set up or given up on the page about security."""

from __future__ import annotations

from typing import Final

import segno
from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from core.actions.accounts import token_sha256
from core.actions.factors import app_begun, begin_app, confirm_app, give_up_app, new_codes, pass_factor
from core.actions.policy import Actor, Permission, Refused, require_person
from core.store.accounts import SignedIn
from core.store.factors import codes_left, factor_of, half_signed_in
from portal import proof
from portal.callers import caller
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import FACTOR, SIGN_IN, half, let_in, let_out, person, safe_next
from portal.limits import by_address
from portal.parts import acting, now, parts, reading

views = Blueprint("factors", __name__)
_WRONG: Final = "This code is not right, or was used before. Type the one that your app shows now, or a recovery code."
_DEMO: Final = "This is a demonstration: it has no second factor, since the button on the sign-in page gets by without."


@views.get(FACTOR)
def show_code() -> ResponseReturnValue:
    """The question for the code; to the sign-in page for who is not half signed in."""
    token, _ = half()
    if not token or half_signed_in(reading(), token_sha256(token), now()) is None:
        return redirect(SIGN_IN, 303)
    return page("factors/code.html", onward=safe_next(request.args.get("next", "/")), error="")


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
            return page("factors/code.html", status=422, onward=onward, error=str(refused))
        let_out()
        tell("bad", str(refused))
        return redirect(SIGN_IN, 303)
    if fresh is None:
        return page("factors/code.html", status=422, onward=onward, error=_WRONG)
    return let_in(fresh, onward)


@views.get("/security/app")
@gate(Permission.SEE_SELF)
def show(actor: Actor) -> ResponseReturnValue:
    """The second factor as it is, or the one that is being set up."""
    return _page(actor)


@views.post("/security/app/begin")
@by_address
@gate(Permission.CHANGE_SELF)
def begin(actor: Actor) -> ResponseReturnValue:
    """Begin to set an app up."""
    checked = proof.typed("proof")
    try:
        if parts().demo:
            raise Refused(_DEMO)  # noqa: TRY301 - told like every other refusal
        with acting() as session:
            begin_app(session, actor, checked=checked, keys=parts().keys, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
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
        return _page(actor, refused=refused)
    return _page(actor, codes=codes)


@views.post("/security/app/codes")
@by_address
@gate(Permission.CHANGE_SELF)
def codes(actor: Actor) -> ResponseReturnValue:
    """Ten new recovery codes, shown once."""
    checked = proof.typed("proof")
    try:
        with acting() as session:
            fresh = new_codes(session, actor, checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    return _page(actor, codes=fresh)


@views.post("/security/app/remove")
@by_address
@gate(Permission.CHANGE_SELF)
def remove(actor: Actor) -> ResponseReturnValue:
    """Sign in by the password alone from now on."""
    checked = proof.typed("proof")
    try:
        with acting() as session:
            give_up_app(session, actor, checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("ok", "The second factor is gone: your password alone signs you in now.")
    return redirect("/security/app", 303)


def _own() -> SignedIn:
    return found(person())


def _page(actor: Actor, *, refused: Refused | None = None, codes: list[str] | None = None) -> ResponseReturnValue:
    session, user_id = reading(), require_person(actor)
    begun = app_begun(session, actor, keys=parts().keys)
    return page(
        "factors/show.html",
        status=200 if refused is None else 422,
        factor=factor_of(session, user_id),
        left=codes_left(session, user_id),
        begun=begun,
        picture=_picture(begun.uri) if begun else "",
        codes=codes or [],
        errors={"code": "", "proof": "", "": ""} | ({refused.field: str(refused)} if refused is not None else {}),
    )


def _picture(uri: str) -> Markup:
    """A QR code as SVG, drawn here: nobody else sees what is in it."""
    drawn = segno.make(uri, error="m").svg_inline(
        scale=4, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
    )
    return Markup(drawn)  # noqa: S704 - made of squares alone
