"""Accounts, for those who run the installation: how many names each has and never which, unless they look at it for its owners."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.impersonations import LASTS, LEAST, MOST, begin_impersonation, end_impersonation
from core.actions.policy import Actor, Permission, Refused, require_installation
from core.store.impersonations import looks_at
from core.store.operated import accounts_page, one_account
from core.store.teams import team
from portal import proof
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import person
from portal.limits import by_address
from portal.operated import list_page
from portal.parts import acting, now, reading

views = Blueprint("operations_accounts", __name__, url_prefix="/operations")
_LOOKS_SHOWN, _LOOKS_OF = 10, timedelta(days=365)


@views.get("/accounts")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """Every account, newest first, or those that are sought."""
    return list_page(actor, "accounts", accounts_page)


@views.get("/accounts/<ref>")
@gate(Permission.SEE_OPERATIONS)
def show_one(actor: Actor, ref: str) -> ResponseReturnValue:
    """One account: who is in it, and how much it has."""
    return _one(actor, ref)


@views.post("/accounts/<ref>/look")
@by_address
@gate(Permission.IMPERSONATE)
def look(actor: Actor, ref: str) -> ResponseReturnValue:
    """Look at it as its viewer from now on."""
    checked, reason = proof.typed("proof"), request.form.get("reason", "")
    sign_in_id = found(person()).session_id
    try:
        with acting() as session:
            name = begin_impersonation(
                session, actor, account_ref=ref, reason=reason, sign_in_id=sign_in_id, checked=checked, now=now()
            )  # fmt: skip
    except Refused as refused:
        return _one(actor, ref, refused)
    tell("info", f"You look at {found(name)} now. Its owners were told by mail.")
    return redirect("/", 303)


@views.post("/look/end")
@gate(Permission.IMPERSONATE)
def end(actor: Actor) -> ResponseReturnValue:
    """Be in one's own account again."""
    with acting() as session:
        ended = end_impersonation(session, actor, sign_in_id=found(person()).session_id, now=now())
    tell("ok" if ended else "info", "You are in your own account again." if ended else "It was over already.")
    return redirect("/operations/accounts", 303)


def _one(actor: Actor, ref: str, refused: Refused | None = None) -> ResponseReturnValue:
    require_installation(actor, Permission.SEE_OPERATIONS)
    session = reading()
    account = found(one_account(session, ref, now()))
    return page(
        "operations/account.html",
        status=200 if refused is None else 422,
        tab="operations",
        at="accounts",
        account=account,
        members=team(session, account.id),
        looks=looks_at(session, account.id, now() - _LOOKS_OF, most=_LOOKS_SHOWN),
        reason=request.form.get("reason", "") if refused is not None else "",
        errors={"reason": "", "proof": "", "": ""} | ({refused.field: str(refused)} if refused is not None else {}),
        least=LEAST,
        most=MOST,
        minutes=int(LASTS.total_seconds() // 60),
    )
