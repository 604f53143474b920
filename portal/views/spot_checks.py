"""The public spot check: one name, asked by anybody, followed while it is looked at, and read by whoever has the link, for a day."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, abort, make_response, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.policy import Refused
from core.actions.spot_checks import PORTS, Visitor, ask_spot_check, read_spot_target
from core.store.spot_checks import SpotCheck, spot_check
from portal.html import page
from portal.parts import acting, now, parts, reading

views = Blueprint("spot_checks", __name__, url_prefix="/check")
MOST_TYPED = 300
TOO_MANY = 429


@views.before_request
def _only_where_it_is_on() -> None:
    """Raises 404 where the operator switched spot checks off."""
    if not parts().spot_check:
        abort(404)


@views.get("")
def show() -> ResponseReturnValue:
    """The form."""
    return _form(request.args.get("name", "")[:MOST_TYPED])


@views.post("")
def ask() -> ResponseReturnValue:
    """Take on a question, and on to its own page. What was typed is kept where it is not taken."""
    typed = request.form.get("name", "")[:MOST_TYPED]
    visitor = Visitor.at(request.remote_addr or "unknown", parts().secret_key)
    try:
        listed = read_spot_target(typed)
    except Refused as refused:
        return _form(typed, str(refused), 422)
    try:
        with acting() as session:
            ref = ask_spot_check(session, listed=listed, visitor=visitor, opted_out=parts().opted_out, now=now())
    except Refused as refused:
        return _form(typed, str(refused), TOO_MANY)
    return redirect(f"/check/{ref}", 303)


@views.get("/<ref>")
def show_one(ref: str) -> ResponseReturnValue:
    """How far it is, or the answer; its fragment asks for itself again until there is one. Nobody may index or keep it."""
    headers = {"X-Robots-Tag": "noindex, nofollow"}
    check = spot_check(reading(), ref, now())
    if check is None:
        return page("spot_checks/over.html", status=404, headers=headers)
    shown = _shown(check)
    return page("spot_checks/one.html", part="spot_checks/_one.html", headers=headers, check=check, **shown)


@views.get("/about")
def about() -> ResponseReturnValue:
    """Who scans, what is sent, how often, and how to ask us to stop."""
    return make_response(page("spot_checks/about.html", ports=sorted(PORTS)))


def _form(typed: str, error: str = "", status: int = 200) -> ResponseReturnValue:
    return page("spot_checks/ask.html", status=status, typed=typed, error=error)


def _shown(check: SpotCheck) -> dict[str, Any]:
    """The answer with its moments read, once it may be shown; None before."""
    if check.shown_at is None or check.shown_at > now():
        return {"answer": None, "steps": _steps(check)}
    answer = dict(check.answer)
    answer["ends_at"] = _moment(answer.get("ends_at", ""))
    certificates = [
        each | {"not_before": _moment(each["not_before"]), "not_after": _moment(each["not_after"]), "letter": letter}
        for each, letter in zip(answer.get("certificates", []), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False)
    ]
    letters = {each["sha256"]: each["letter"] for each in certificates}
    return {"answer": answer, "certificates": certificates, "letters": letters, "steps": ()}


def _steps(check: SpotCheck) -> tuple[tuple[str, str], ...]:
    """State ("ok", "live" or "todo") and words of each step."""
    order = ("waiting", "addresses", "dialling", "done")
    at = min(order.index(check.step) if check.step in order else 0, 2)
    count = check.addresses
    words = (
        "A worker took it up" if at > 0 else "Waiting for a worker",
        f"{count} address{'' if count == 1 else 'es'} found" if at > 1 else "Looking up the addresses",
        "Dialling every address and reading what it serves",
        "Judging: dates, names, chain, keys",
    )
    return tuple(("ok" if rank < at else "live" if rank == at else "todo", text) for rank, text in enumerate(words))


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
