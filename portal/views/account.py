"""The account as a whole: its name, what it asks of its members, its end; and the way back from the bin."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.exports import ask_export_of_binned
from core.actions.own_account import LONGEST_NAME, make_account, rename_account, require_factors, restore_account
from core.actions.policy import Actor, Permission, Refused, require_person
from core.actions.removals import remove_account
from core.render import plural
from core.store.account_rules import binned_accounts, factor_required
from core.store.accounts import SignedIn
from core.store.base import IN_BIN_FOR
from core.store.teams import own_accounts
from portal import proof
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import person
from portal.limits import by_address
from portal.parts import acting, now, parts, reading

views = Blueprint("account", __name__, url_prefix="/account")
_DEMO = "This is a demonstration: its account stays as it is."


@views.get("")
@gate(Permission.SEE_SELF)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("/name")
@gate(Permission.MANAGE_ACCOUNT)
def rename(actor: Actor) -> ResponseReturnValue:
    """Another name."""
    try:
        with acting() as session:
            name = rename_account(session, actor, name=request.form.get("name", "")[:1_000], now=now())
    except Refused as refused:
        return _page(actor, refused)
    tell("ok", f"The account is called {name} now.")
    return redirect("/account", 303)


@views.post("/new")
@gate(Permission.CHANGE_SELF)
def new(actor: Actor) -> ResponseReturnValue:
    """One more account of one's own."""
    try:
        with acting() as session:
            name = make_account(
                session, actor, name=request.form.get("new_name", "")[:1_000], sign_in_id=_own().session_id, now=now(),
                anybody=parts().sign_up == "open",
            )  # fmt: skip
    except Refused as refused:
        return _page(actor, Refused(str(refused), "new_name"))
    tell("ok", f"You are looking at {name} now.")
    return redirect("/domains", 303)


@views.post("/factor")
@by_address
@gate(Permission.MANAGE_ACCOUNT)
def factor(actor: Actor) -> ResponseReturnValue:
    """Ask every member for a second factor, or no more."""
    checked, on = proof.typed("factor_proof"), request.form.get("on") == "1"
    try:
        with acting() as session:
            without = require_factors(session, actor, on=on, checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused)
    waits = f" {plural(without, 'member')} without one see nothing until they set one up; a mail tells them." if without else ""
    tell("ok", f"Every member needs a second factor now.{waits}" if on else "Members need no second factor any more.")
    return redirect("/account", 303)


@views.post("/remove")
@by_address
@gate(Permission.MANAGE_ACCOUNT)
def remove(actor: Actor) -> ResponseReturnValue:
    """Put the account into the bin, or ask a second person to allow it."""
    checked = proof.typed("remove_proof")
    try:
        if parts().demo:
            raise Refused(_DEMO, "remove_proof")  # noqa: TRY301 - told like every other refusal
        with acting() as session:
            came = remove_account(session, actor, checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused)
    if came.waiting:
        tell("ok", "It waits for somebody else's yes. Nothing was removed yet.")
        return redirect("/approvals", 303)
    tell("ok", f"The account lies in the bin, with {plural(came.removed, 'name')}. You can bring it back whole for 30 days, here.")
    return redirect("/account", 303)


@views.post("/restore")
@gate(Permission.CHANGE_SELF)
def restore(actor: Actor) -> ResponseReturnValue:
    """Bring one back."""
    try:
        with acting() as session:
            ref = request.form.get("ref", "")
            name, names = restore_account(session, actor, ref=ref, sign_in_id=_own().session_id, now=now())
    except Refused as refused:
        return _page(actor, refused)
    tell("ok", f"{name} is back, with {plural(names, 'name')}.")
    return redirect("/domains", 303)


@views.post("/export")
@by_address
@gate(Permission.CHANGE_SELF)
def export(actor: Actor) -> ResponseReturnValue:
    """Have an account exported that lies in the bin."""
    checked = proof.typed("export_proof")
    try:
        with acting() as session:
            ask_export_of_binned(session, actor, ref=request.form.get("ref", ""), checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused)
    tell("live", "The export is being made. You get a mail with a link when it is whole.")
    return redirect("/account", 303)


def _own() -> SignedIn:
    return found(person())


def _page(actor: Actor, refused: Refused | None = None) -> ResponseReturnValue:
    session, user_id = reading(), require_person(actor)
    mine = own_accounts(session, user_id)
    return page(
        "account/show.html",
        status=200 if refused is None else 422,
        account=next((each for each in mine if each.id == actor.account_id), None),
        binned=binned_accounts(session, user_id, now() - IN_BIN_FOR),
        kept_for=IN_BIN_FOR,
        required=actor.account_id is not None and factor_required(session, actor.account_id),
        may_make=not mine or parts().sign_up == "open",
        longest=LONGEST_NAME,
        typed={name: request.form.get(name, "")[:1_000] if refused is not None else "" for name in ("name", "new_name")},
        errors={"name": "", "new_name": "", "factor_proof": "", "remove_proof": "", "export_proof": "", "": ""}
        | ({refused.field: str(refused)} if refused is not None else {}),
    )
