"""Single sign-on: to the operator's identity provider and back, to come in or to connect what one is there to oneself.

The provider sends browsers back by a GET, which changes nothing: its page posts on what came, by itself or by its button.
"""

from __future__ import annotations

import secrets
from typing import Final

from flask import Blueprint, redirect, request, session
from flask.typing import ResponseReturnValue

from core.actions.identities import (
    LATE,
    FlowKind,
    begin_flow,
    connect_identity,
    disconnect_identity,
    enter_by_identity,
    fail_identity,
    require_own_password,
    take_flow,
)
from core.actions.policy import Actor, Permission, Refused, require_person
from core.oidc import Begun, NotVouchedError, Provider, ProviderAwayError, Vouched
from portal import proof
from portal.callers import caller
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import CALLBACK, SIGN_IN, let_in, safe_next
from portal.limits import by_address
from portal.parts import acting, beside, let_go, now, parts, reading
from portal.sign_ins_shown import security_page

views = Blueprint("oidc", __name__)
SECURITY: Final = "/security"
_WAY: Final = "oidc"
_LONGEST_CODE: Final = 4_096


@views.post("/sign-in/oidc")
@by_address
def begin() -> ResponseReturnValue:
    """Off to the provider, to come in."""
    provider, onward = _provider(), safe_next(request.form.get("next", "/"))
    try:
        begun = provider.begin(now())
    except ProviderAwayError as away:
        return _refused(str(away))
    with acting() as acts:
        begin_flow(acts, kind="enter", user_id=None, begun=begun, keys=parts().keys, now=now())
    return _off(provider, begun, "enter", onward, stay="stay" in request.form)


@views.get(CALLBACK)
def back() -> ResponseReturnValue:
    """Where the provider sends browsers back to: what came is posted on, or why that is of no use."""
    provider = _provider()
    state, kind, _, _ = _way()
    told, code, wrong = request.args.get("state", ""), request.args.get("code", ""), ""
    if not secrets.compare_digest(state.encode(), told.encode("utf-8", "replace")) or not state:
        wrong = LATE
    elif not code or request.args.get("iss", provider.issuer) != provider.issuer:  # RFC 9207
        wrong = f"{provider.name} did not say who you are: you said no there, or may not use KeyChest. Nothing was changed."
    return page("oidc/back.html", status=422 if wrong else 200, name=provider.name, kind=kind, wrong=wrong, state=state, code=code)


@views.post("/sign-in/oidc/enter")
@by_address
def enter() -> ResponseReturnValue:
    """Come in as whom the provider vouches for, or go back to the sign-in page."""
    provider, (_, _, onward, stay) = _provider(), _way()
    try:
        vouched = _vouched(provider, "enter", None)
        with acting() as acts:
            fresh = enter_by_identity(
                acts, vouched=vouched, called=provider.name, sign_up=parts().sign_up, now=now(), caller=caller(), stay=stay
            )
    except (Refused, ProviderAwayError) as refused:
        return _refused(str(refused))
    except NotVouchedError as refused:
        _note_failed()
        return _refused(str(refused))
    return let_in(fresh, safe_next(onward))


@views.post("/security/oidc/begin")
@by_address
@gate(Permission.CHANGE_SELF)
def begin_to_connect(actor: Actor) -> ResponseReturnValue:
    """Off to the provider, to connect what one is there."""
    provider, checked = _provider(), proof.typed("identity_proof")
    try:
        user_id = require_own_password(reading(), actor, checked=checked)
        let_go()
        begun = provider.begin(now())
        with acting() as acts:
            begin_flow(acts, kind="connect", user_id=user_id, begun=begun, keys=parts().keys, now=now())
    except Refused as refused:
        return security_page(actor, refused)
    except ProviderAwayError as away:
        return _refused(str(away), SECURITY)
    return _off(provider, begun, "connect", SECURITY)


@views.post("/security/oidc")
@by_address
@gate(Permission.CHANGE_SELF)
def connect(actor: Actor) -> ResponseReturnValue:
    """Connect whom the provider vouches for to the person who went there."""
    provider = _provider()
    try:
        vouched = _vouched(provider, "connect", require_person(actor))
        with acting() as acts:
            shown = connect_identity(acts, actor, vouched=vouched, called=provider.name, now=now())
    except (Refused, ProviderAwayError) as refused:
        return _refused(str(refused), SECURITY)
    except NotVouchedError as refused:
        _note_failed()
        return _refused(str(refused), SECURITY)
    tell("ok", f"{shown} at {provider.name} signs you in from now on.")
    return redirect(SECURITY, 303)


@views.post("/security/oidc/remove")
@by_address
@gate(Permission.CHANGE_SELF)
def remove(actor: Actor) -> ResponseReturnValue:
    """Disconnect it."""
    provider, checked, ref = _provider(), proof.typed("identity_proof"), request.form.get("ref", "")
    try:
        with acting() as acts:
            disconnect_identity(acts, actor, ref=ref, called=provider.name, checked=checked, now=now())
    except Refused as refused:
        return security_page(actor, refused)
    tell("ok", f"{provider.name} is disconnected: it signs you in no more.")
    return redirect(SECURITY, 303)


def _provider() -> Provider:
    """The provider, or the page that says that there is nothing here."""
    return found(None if parts().demo else parts().provider)


def _off(provider: Provider, begun: Begun, kind: FlowKind, onward: str, *, stay: bool = False) -> ResponseReturnValue:
    """The browser goes to the provider: not by a redirect, since a form of ours leads nowhere but to us."""
    session[_WAY] = [begun.state, kind, onward, stay]
    return page("oidc/off.html", headers={"Refresh": f"0; url={begun.url}"}, name=provider.name, kind=kind, url=begun.url)


def _way() -> tuple[str, str, str, bool]:
    """The way that this browser went last: its state, its kind, where it leads, and whether its person stays."""
    state, kind, onward, stay = session.get(_WAY, ["", "enter", "/", False])
    return state, kind, onward, stay


def _vouched(provider: Provider, kind: FlowKind, user_id: int | None) -> Vouched:
    """Whom the provider vouches for by what came back. The way is used up first. Raises Refused, and what the provider raises."""
    state = str(session.pop(_WAY, [""])[0])
    if not state or not secrets.compare_digest(state.encode(), request.form.get("state", "").encode("utf-8", "replace")):
        raise Refused(LATE)
    let_go()
    with beside() as acts:
        verifier, nonce = take_flow(acts, kind=kind, user_id=user_id, state=state, keys=parts().keys, now=now())
    return provider.vouched(code=request.form.get("code", "")[:_LONGEST_CODE], verifier=verifier, nonce=nonce, now=now())


def _note_failed() -> None:
    with acting() as acts:
        fail_identity(acts, now=now())


def _refused(said: str, where: str = SIGN_IN) -> ResponseReturnValue:
    tell("bad", said)
    return redirect(where, 303)
