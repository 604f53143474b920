"""What people do by mail: choose a new password, come in for the first time, confirm another address."""

from __future__ import annotations

from typing import Final, Literal

from flask import Blueprint, abort, request
from flask.typing import ResponseReturnValue

from core.actions.doors import AskedKind, ask_by_mail, confirm_email, open_letter, reset_password, sign_up
from core.actions.passwords import PASSWORD_LEAST, PasswordHash, hash_password
from core.actions.policy import Refused
from portal.callers import caller
from portal.html import page
from portal.identity import let_in
from portal.limits import by_address, by_person, by_person_and_network
from portal.parts import acting, looking, now, parts, reading

views = Blueprint("doors", __name__)
_EMAIL_KINDS: Final[dict[str, Literal["email_old", "email_new"]]] = {"old": "email_old", "new": "email_new"}


@views.get("/forgot")
def show_forgot() -> ResponseReturnValue:
    """The form to ask for a new password."""
    return _ask_page("reset")


@views.post("/forgot")
@by_address
@by_person_and_network
@by_person
def forgot() -> ResponseReturnValue:
    """Ask for a mail by which a new password is chosen."""
    return _ask("reset")


@views.get("/reset/<token>")
def show_reset(token: str) -> ResponseReturnValue:
    """The form by which a new password is chosen."""
    return _choose_page("reset", token)


@views.post("/reset/<token>")
@by_address
def reset(token: str) -> ResponseReturnValue:
    """Keep the password, and sign in."""
    try:
        password_hash = _chosen("reset", token)
        with acting() as session:
            fresh = reset_password(session, token=token, password_hash=password_hash, now=now(), caller=caller())
    except Refused as refused:
        return _choose_page("reset", token, refused)
    return let_in(fresh)


@views.get("/sign-up")
def show_sign_up() -> ResponseReturnValue:
    """The form to come in, where the operator lets people."""
    _require_open()
    return _ask_page("sign_up")


@views.post("/sign-up")
@by_address
@by_person_and_network
@by_person
def ask_sign_up() -> ResponseReturnValue:
    """Ask for a mail by which one comes in."""
    _require_open()
    return _ask("sign_up")


@views.get("/sign-up/<token>")
def show_signing_up(token: str) -> ResponseReturnValue:
    """The form by which the first password is chosen."""
    _require_open()
    return _choose_page("sign_up", token)


@views.post("/sign-up/<token>")
@by_address
def signing_up(token: str) -> ResponseReturnValue:
    """Make the user, and sign in."""
    _require_open()
    try:
        password_hash = _chosen("sign_up", token)
        with acting() as session:
            fresh = sign_up(session, token=token, password_hash=password_hash, now=now(), caller=caller())
    except Refused as refused:
        return _choose_page("sign_up", token, refused)
    return let_in(fresh, "/domains")


@views.get("/email/<any(old, new):which>/<token>")
def show_email(which: str, token: str) -> ResponseReturnValue:
    """A button to confirm another address: programs that look through mails open links, and press none."""
    return _email_page(which, token)


@views.post("/email/<any(old, new):which>/<token>")
@by_address
def email(which: str, token: str) -> ResponseReturnValue:
    """Confirm it."""
    try:
        with acting() as session:
            changed = confirm_email(session, kind=_EMAIL_KINDS[which], token=token, now=now())
    except Refused as refused:
        return _email_page(which, token, refused)
    return page("doors/email.html", letter=None, done=True, changed=changed, error="", which=which)


def _ask(kind: AskedKind) -> ResponseReturnValue:
    address = request.form.get("email", "")
    try:
        with acting() as session:
            ask_by_mail(session, kind, email=address, now=now())
    except Refused as refused:
        return _ask_page(kind, address, refused)
    return page("doors/asked.html", kind=kind, email=address.strip().lower(), mail_is_kept=parts().mail_is_kept)


def _ask_page(kind: AskedKind, address: str = "", refused: Refused | None = None) -> ResponseReturnValue:
    return page("doors/ask.html", status=422 if refused else 200, kind=kind, email=address, error=str(refused or ""))


def _chosen(kind: AskedKind, token: str) -> PasswordHash:
    """The hash of the password that was typed, made for the holder of a link only. Raises Refused."""
    with looking() as session:
        open_letter(session, kind, token=token, now=now())
    return hash_password(request.form.get("password", ""))


def _choose_page(kind: AskedKind, token: str, refused: Refused | None = None) -> ResponseReturnValue:
    email, gone, status = "", "", 422 if refused is not None else 200
    try:
        email = open_letter(reading(), kind, token=token, now=now()).email
    except Refused as closed:
        gone, status = str(closed), 404 if refused is None else 422
    return page("doors/choose.html", status=status, kind=kind, email=email, gone=gone, error=str(refused or ""), least=PASSWORD_LEAST)


def _email_page(which: str, token: str, refused: Refused | None = None) -> ResponseReturnValue:
    letter, error = None, str(refused or "")
    try:
        letter = open_letter(reading(), _EMAIL_KINDS[which], token=token, now=now())
    except Refused as gone:
        error = error or str(gone)
    status = 422 if refused is not None else 200 if letter is not None else 404
    return page("doors/email.html", status=status, letter=letter, done=False, changed="", error=error, which=which)


def _require_open() -> None:
    if parts().sign_up != "open":
        abort(404)
