"""Users, for those who run the installation: who is there, who is kept out, and who runs it with them."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.operators import disable_user, enable_user, give_installation_role
from core.actions.policy import INSTALLATION_POLICY, Actor, Permission, Refused, require_installation
from core.store.operated_users import one_user, users_page
from portal import proof
from portal.gate import found, gate
from portal.html import page, tell
from portal.limits import by_address
from portal.operated import list_page
from portal.parts import acting, now, reading

views = Blueprint("operations_users", __name__, url_prefix="/operations/users")


@views.get("")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """Every user, newest first, or those that are sought."""
    return list_page(actor, "users", users_page)


@views.get("/<ref>")
@gate(Permission.SEE_OPERATIONS)
def show_one(actor: Actor, ref: str) -> ResponseReturnValue:
    """One user."""
    return _one(actor, ref)


@views.post("/<ref>/disable")
@gate(Permission.OPERATE)
def disable(actor: Actor, ref: str) -> ResponseReturnValue:
    """Keep them out from now on."""
    try:
        with acting() as session:
            email = disable_user(session, actor, user_ref=ref, now=now())
    except Refused as refused:
        return _one(actor, ref, Refused(str(refused)))
    tell("paused", f"{found(email)} is disabled: every sign-in of theirs has ended, and nothing lets them in.")
    return redirect(f"/operations/users/{ref}", 303)


@views.post("/<ref>/enable")
@gate(Permission.OPERATE)
def enable(actor: Actor, ref: str) -> ResponseReturnValue:
    """Let them sign in again."""
    with acting() as session:
        email = enable_user(session, actor, user_ref=ref, now=now())
    tell("ok", f"{found(email)} may sign in again.")
    return redirect(f"/operations/users/{ref}", 303)


@views.post("/<ref>/role")
@by_address
@gate(Permission.OPERATE)
def role(actor: Actor, ref: str) -> ResponseReturnValue:
    """Give or take a role on the installation."""
    checked, wanted = proof.typed("proof"), request.form.get("role", "")
    try:
        with acting() as session:
            email = give_installation_role(session, actor, user_ref=ref, role=wanted, checked=checked, now=now())
    except Refused as refused:
        return _one(actor, ref, refused)
    tell("ok", f"{found(email)} is an {wanted} now." if wanted else f"{found(email)} has no role on the installation any more.")
    return redirect("/" if ref == actor.user_ref else f"/operations/users/{ref}", 303)  # whose own role may be gone


def _one(actor: Actor, ref: str, refused: Refused | None = None) -> ResponseReturnValue:
    require_installation(actor, Permission.SEE_OPERATIONS)
    user = found(one_user(reading(), ref, now()))
    return page(
        "operations/user.html",
        status=200 if refused is None else 422,
        tab="operations",
        at="users",
        user=user,
        me=user.id == actor.user_id,
        roles=tuple(INSTALLATION_POLICY),
        chosen=request.form.get("role", user.role) if refused is not None else user.role,
        errors={"role": "", "proof": "", "": ""} | ({refused.field: str(refused)} if refused is not None else {}),
    )
