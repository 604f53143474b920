"""Who belongs to the account: its members, invitations and former members, and the accounts of the person who looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.accounts import switch_account
from core.actions.letters import LEASE
from core.actions.policy import POLICY, ROLES, Actor, Permission, Refused, require, require_person
from core.actions.roles import matrix
from core.actions.team import (
    DAYS,
    change_role,
    invite,
    leave,
    remove_member,
    restore_member,
    withdraw_invitation,
)
from core.render import plural
from core.store.base import IN_BIN_FOR
from core.store.cards import Holder, holders
from core.store.letters import Letter, newest_about
from core.store.teams import invited, left_since, own_accounts, team
from portal.gate import found, gate
from portal.html import page, tell
from portal.identity import person
from portal.parts import acting, now, parts, reading

views = Blueprint("team", __name__, url_prefix="/team")
_USUAL: Final = {"email": "", "role": "viewer", "days": "7"}
"""What the form to invite begins with."""
_NOBODY: Final = "There is no such member any more. Nothing was changed."


@views.get("")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The page."""
    return _page(actor)


@views.post("/invite")
@gate(Permission.MANAGE_TEAM)
def ask_in(actor: Actor) -> ResponseReturnValue:
    """Invite somebody by mail. Where no mail is sent, the link is shown once, to be passed on."""
    email, role, days = request.form.get("email", ""), request.form.get("role", ""), request.form.get("days", "")
    try:
        with acting() as session:
            lasts = int(days) if days in map(str, DAYS) else 0
            token = invite(session, actor, email=email, role=role, days=lasts, now=now(), by_mail=not parts().mail_is_kept)
    except Refused as refused:
        return _page(actor, refused=refused)
    if not parts().mail_is_kept:
        tell("ok", f"A mail with the invitation is on its way to {email.strip().lower()}.")
        return redirect("/team", 303)
    return _page(actor, link=f"{parts().public_url}/invitation/{token}", link_for=email.strip().lower())


@views.post("/withdraw")
@gate(Permission.MANAGE_TEAM)
def withdraw(actor: Actor) -> ResponseReturnValue:
    """Withdraw an invitation."""
    with acting() as session:
        done = withdraw_invitation(session, actor, ref=request.form.get("ref", ""), now=now())
    tell("ok" if done else "info", "The invitation was withdrawn." if done else "There is no such open invitation any more.")
    return redirect("/team", 303)


@views.post("/role")
@gate(Permission.MANAGE_TEAM)
def role(actor: Actor) -> ResponseReturnValue:
    """Change a member's role."""
    wanted = request.form.get("role", "")
    try:
        with acting() as session:
            email = change_role(session, actor, user_ref=request.form.get("ref", ""), role=wanted, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("ok" if email else "info", f"{email} is {_a(wanted)} now." if email else _NOBODY)
    return redirect("/team", 303)


@views.post("/remove")
@gate(Permission.MANAGE_TEAM)
def remove(actor: Actor) -> ResponseReturnValue:
    """Put a member into the bin."""
    ref = request.form.get("ref", "")
    try:
        with acting() as session:
            email = remove_member(session, actor, user_ref=ref, now=now())
            left = _names_of(holders(session, require(actor, Permission.READ)), ref)
    except Refused as refused:
        return _page(actor, refused=refused)
    if email:
        text = f"{email} was removed, and can be brought back for 30 days.{_orphaned(left)}"
        tell("ok", text, undo="/team/restore", fields=(("ref", ref),))
    else:
        tell("info", _NOBODY)
    return redirect("/team", 303)


@views.post("/restore")
@gate(Permission.MANAGE_TEAM)
def restore(actor: Actor) -> ResponseReturnValue:
    """Bring a former member back."""
    with acting() as session:
        email = restore_member(session, actor, user_ref=request.form.get("ref", ""), now=now())
    tell("ok" if email else "info", f"{email} is back." if email else "Nobody was brought back: they are here, or left over 30 days ago.")
    return redirect("/team", 303)


@views.post("/leave")
@gate(Permission.LEAVE)
def go(actor: Actor) -> ResponseReturnValue:
    """Leave the account."""
    try:
        with acting() as session:
            leave(session, actor, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("ok", "You have left the account. One of its owners can bring you back for 30 days.")
    return redirect("/security", 303)


@views.post("/switch")
@gate(Permission.CHANGE_SELF)
def switch(actor: Actor) -> ResponseReturnValue:
    """Look at another account of one's own."""
    with acting() as session:
        name = switch_account(session, actor, ref=request.form.get("ref", ""), sign_in_id=found(person()).session_id)
    tell("ok" if name else "info", f"You are looking at {name} now." if name else "You do not belong to that account any more.")
    return redirect("/", 303)


def _names_of(all_holders: Sequence[Holder], ref: str) -> int:
    """How many names this person is responsible for."""
    return sum(each.names for each in all_holders if each.ref == ref)


def _orphaned(names: int) -> str:
    """What going leaves behind, as a further sentence."""
    return f" {plural(names, 'name has', 'names have')} nobody responsible now: choose “Person has left” under Domains." if names else ""


def _a(role: str) -> str:
    return f"an {role}" if role.startswith("o") else f"a {role}"


def _told(letter: Letter) -> str:
    """What became of the mail with an invitation, in words."""
    if letter.outcome in {"sent", "kept"}:
        return "The mail was sent."
    stopped = letter.handed_at is not None and letter.handed_at + LEASE < now() and not letter.outcome
    if letter.outcome == "unsure" or stopped:
        why = letter.last_error or "its worker was stopped"
        return f"It is not known whether the mail arrived ({why}). Invite them again if it did not."
    if letter.outcome:
        return "The mail could not be sent. Invite them again."
    return f"The mail could not be sent yet, and is tried again: {letter.last_error}" if letter.last_error else "The mail is on its way."


def _page(actor: Actor, *, refused: Refused | None = None, link: str = "", link_for: str = "") -> ResponseReturnValue:
    session, account_id = reading(), require(actor, Permission.READ)
    manages = Permission.MANAGE_TEAM in POLICY.get(actor.role, ())
    open_invitations = invited(session, account_id, now()) if manages else ()
    mails = newest_about(session, "invitation", [each.ref for each in open_invitations])
    all_holders = holders(session, account_id)
    kept = request.form if refused is not None and "days" in request.form else {}
    return page(
        "team/show.html",
        status=200 if refused is None else 422,
        members=team(session, account_id),
        held={each.ref: each.names for each in all_holders},
        orphans=sum(each.names for each in all_holders if each.left),
        invited=open_invitations,
        mails={ref: _told(letter) for ref, letter in mails.items()},
        former=left_since(session, account_id, now() - IN_BIN_FOR) if manages else (),
        mine=own_accounts(session, require_person(actor)) if not actor.impersonating else (),
        me=actor,
        roles=ROLES,
        matrix=matrix(POLICY),
        days=DAYS,
        link=link,
        link_for=link_for,
        typed={name: kept.get(name, usual) for name, usual in _USUAL.items()},
        errors={"email": "", "role": "", "days": "", "": ""} | ({refused.field: str(refused)} if refused is not None else {}),
    )
