"""Public incidents by mail, for anybody: asked for, confirmed, and left with one click (RFC 8058)."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from core.actions.doors import open_letter
from core.actions.policy import Refused
from core.actions.subscribers import ask_status_mail, confirm_status_mail, leave_status_mail
from core.leaving import who_leaves
from portal.html import page
from portal.limits import by_address, by_person, by_person_and_network
from portal.parts import acting, now, parts, reading

views = Blueprint("status_mail", __name__, url_prefix="/status")
_SHOWN = "status_mail/show.html"


@views.get("/subscribe")
def show() -> ResponseReturnValue:
    """The form."""
    return page(_SHOWN, at="ask", email="", error="")


@views.post("/subscribe")
@by_address
@by_person_and_network
@by_person
def subscribe() -> ResponseReturnValue:
    """Ask for a mail by which the address is confirmed. The answer tells nobody who is told already."""
    email = request.form.get("email", "")
    try:
        with acting() as session:
            ask_status_mail(session, email=email, now=now())
    except Refused as refused:
        return page(_SHOWN, status=422, at="ask", email=email, error=str(refused))
    return page(_SHOWN, at="asked", email=email.strip().lower(), mail_is_kept=parts().mail_is_kept)


@views.get("/confirm/<token>")
def show_confirm(token: str) -> ResponseReturnValue:
    """A button: programs that look through mails open links, and press none."""
    try:
        open_letter(reading(), "status_confirm", token=token, now=now())
    except Refused as gone:
        return page(_SHOWN, status=404, at="gone", error=str(gone))
    return page(_SHOWN, at="confirm")


@views.post("/confirm/<token>")
@by_address
def confirm(token: str) -> ResponseReturnValue:
    """From now on they are told."""
    try:
        with acting() as session:
            confirm_status_mail(session, token=token, now=now())
    except Refused as gone:
        return page(_SHOWN, status=422, at="gone", error=str(gone))
    return page(_SHOWN, at="confirmed")


@views.get("/leave/<token>")
def show_leave(token: str) -> ResponseReturnValue:
    """A button; opening the page changes nothing."""
    known = who_leaves(parts().keys, token)
    return page(_SHOWN, at="leave") if known else page(_SHOWN, status=404, at="gone", error="This link is not whole. Copy all of it.")


@views.post("/leave/<token>")
def leave(token: str) -> ResponseReturnValue:
    """Nothing is sent any more. Mail programs post here by themselves: neither cookie nor token of a form is asked for."""
    ref = who_leaves(parts().keys, token)
    if not ref:
        return page(_SHOWN, status=422, at="gone", error="This link is not whole. Copy all of it.")
    with acting() as session:
        leave_status_mail(session, ref=ref, now=now())
    return page(_SHOWN, at="left")
