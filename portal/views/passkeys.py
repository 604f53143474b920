"""Passkeys: added and taken away under Security, and signing in by one. Each takes two steps: what the device is asked, what it answers."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, request, session
from flask.typing import ResponseReturnValue

from core.actions.passkeys import add_passkey, ask_for_passkey, ask_to_add_passkey, enter_by_passkey, remove_passkey
from core.actions.policy import Actor, Permission, Refused
from core.passkeys import MOST_BYTES, Asked, Site, site_of
from portal import proof
from portal.callers import caller
from portal.factors_shown import factors_page
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import SIGN_IN, half, let_in, person, safe_next
from portal.limits import by_address
from portal.parts import acting, now, parts
from portal.views.factors import DEMO, half_in

views = Blueprint("passkeys", __name__)
_ASKED: Final = "passkey"
_NO_SITE: Final = "Browsers have passkeys for names with TLS alone, and this portal is not reached that way. Ask its operator."
_WRONG: Final = "This passkey signs nobody in here. Use another one, or your password."


@views.post("/security/passkeys/begin")
@by_address
@gate(Permission.CHANGE_SELF)
def begin(actor: Actor) -> ResponseReturnValue:
    """Ask the person's device for a passkey."""
    checked = proof.typed("passkey_proof")
    try:
        if parts().demo:
            raise Refused(DEMO)  # noqa: TRY301 - told like every other refusal
        with acting() as acts:
            asked = ask_to_add_passkey(acts, actor, checked=checked, site=_site(), now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    return _question(asked, "create", onward="/", name=request.form.get("name", "")[:200])


@views.post("/security/passkeys")
@by_address
@gate(Permission.CHANGE_SELF)
def add(actor: Actor) -> ResponseReturnValue:
    """Keep the passkey. The recovery codes are shown once, with the first factor."""
    challenge, answer = _answer()
    try:
        with acting() as acts:
            codes = add_passkey(
                acts, actor, challenge=challenge, answer=answer, name=request.form.get("name", "")[:200], site=_site(),
                keep=found(person()).session_id, now=now(),
            )  # fmt: skip
    except Refused as refused:
        return factors_page(actor, refused=refused)
    if codes:
        return factors_page(actor, codes=codes)
    tell("ok", "The passkey was added.")
    return redirect("/security/app", 303)


@views.post("/security/passkeys/remove")
@by_address
@gate(Permission.CHANGE_SELF)
def remove(actor: Actor) -> ResponseReturnValue:
    """Take one away."""
    checked = proof.typed("passkey_proof")
    try:
        with acting() as acts:
            name = remove_passkey(acts, actor, ref=request.form.get("ref", ""), checked=checked, now=now())
    except Refused as refused:
        return factors_page(actor, refused=refused)
    tell("ok", f"The passkey {name} was taken away.")
    return redirect("/security/app", 303)


@views.post("/sign-in/passkey")
@by_address
def ask() -> ResponseReturnValue:
    """Ask the visitor's device: for the passkey of who is half signed in, or for any of this site."""
    onward = safe_next(request.form.get("next", "/"))
    halfway = half_in()
    stay = half()[1] if halfway is not None else "stay" in request.form
    try:
        site = _site()
    except Refused as refused:
        tell("bad", str(refused))
        return redirect(SIGN_IN, 303)
    with acting() as acts:
        asked = ask_for_passkey(acts, half=halfway, site=site, now=now())
    return _question(asked, "get", onward=onward, stay=stay)


@views.post("/sign-in/passkey/enter")
@by_address
def enter() -> ResponseReturnValue:
    """Sign in whole, or go back to the sign-in page."""
    challenge, answer = _answer()
    try:
        with acting() as acts:
            stay = "stay" in request.form
            fresh = enter_by_passkey(acts, challenge=challenge, answer=answer, site=_site(), now=now(), caller=caller(), stay=stay)
        said = _WRONG
    except Refused as refused:
        fresh, said = None, str(refused)
    if fresh is not None:
        return let_in(fresh, safe_next(request.form.get("next", "/")))
    tell("bad", said)
    return redirect(SIGN_IN, 303)


def _site() -> Site:
    """Raises Refused where browsers have no passkeys."""
    site = site_of(parts().public_url)
    if site is None:
        raise Refused(_NO_SITE)
    return site


def _question(asked: Asked, do: str, *, onward: str, name: str = "", stay: bool = False) -> ResponseReturnValue:
    session[_ASKED] = asked.challenge
    return page("factors/passkey.html", asked=asked.options, do=do, onward=onward, name=name, stay=stay, address=parts().public_url)


def _answer() -> tuple[str, str]:
    """What this browser's device was asked last, and what it answers. It answers once."""
    return str(session.pop(_ASKED, "")), request.form.get("answer", "")[: MOST_BYTES + 1]
