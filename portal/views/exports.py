"""Taking data out: the export of an account, its plans, single lists, and calendars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flask import Blueprint, Response, redirect, request, send_file, stream_with_context
from flask.typing import ResponseReturnValue

from core.actions.accounts import token_sha256
from core.actions.calendars import open_calendar, revoke_calendar
from core.actions.export_plans import EVERY, Planned, make_plan, remove_plan, run_plan
from core.actions.exports import ask_export, download_export, list_downloaded, use_link
from core.actions.policy import Actor, Permission, Refused, allows, require, require_person
from core.exports.form import HISTORIES
from core.exports.lists import LISTS, calendar
from core.exports.places import PLACES
from core.store.exported import Reach, counted
from core.store.exports import Export, calendar_of, calendars_of, exports_of, plans_of
from portal import proof
from portal.gate import found, gate
from portal.html import page, tell
from portal.limits import by_address
from portal.parts import acting, looking, now, parts, reading

views = Blueprint("exports", __name__, url_prefix="/exports")
HISTORY_WORDS: Final = {"all": "All there is", "year": "One year", "month": "One month", "none": "None, only what you typed in"}
PLACE_WORDS: Final = {"mail": "By mail to you", "s3": "An S3 bucket", "sftp": "An SFTP server", "webhook": "A webhook"}
_SECRETS: Final = ("access_key", "secret_key", "region", "key", "host_key")


@views.get("")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """The page; its fragment is the list, which asks for itself again while something is made."""
    return _page(actor)


@views.post("")
@by_address
@gate(Permission.EXPORT)
def ask(actor: Actor) -> ResponseReturnValue:
    """Have an export made."""
    checked = proof.typed("export_proof")
    try:
        with acting() as session:
            ask_export(session, actor, history=request.form.get("history", ""), checked=checked, now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    tell("live", "The export is being made. You get a mail with a link when it is whole.")
    return redirect("/exports", 303)


@views.get("/get/<token>")
@gate(Permission.SEE_SELF)
def show_link(actor: Actor, token: str) -> ResponseReturnValue:
    """The page that the link in the mail leads to. Looking at it uses nothing up."""
    require_person(actor)
    return page("exports/get.html", secret=token, problem="")


@views.post("/get/<token>")
@gate(Permission.CHANGE_SELF)
def use(actor: Actor, token: str) -> ResponseReturnValue:
    """The file, once."""
    try:
        with acting() as session:
            row = use_link(session, actor, token_sha256=token_sha256(token), now=now())
            session.expunge(row)
    except Refused as refused:
        return page("exports/get.html", status=404, secret="", problem=str(refused))
    return _sent(row)


@views.post("/<ref>/download")
@by_address
@gate(Permission.EXPORT)
def download(actor: Actor, ref: str) -> ResponseReturnValue:
    """The file, for who types their password."""
    checked = proof.typed("download_proof")
    try:
        with acting() as session:
            row = download_export(session, actor, ref=ref, checked=checked, now=now())
            session.expunge(row)
    except Refused as refused:
        return _page(actor, refused=refused)
    return _sent(row)


def _sent(row: Export) -> ResponseReturnValue:
    path = parts().plan.data / "exports" / row.file
    if not path.exists():
        return page("exports/get.html", status=404, secret="", problem="The file is gone: it is kept for a day. Make another export.")
    return send_file(path.absolute(), "application/zip", as_attachment=True, download_name=f"keychest-{row.ready_at:%Y-%m-%d-%H%M}.zip")


@views.get("/plan")
@gate(Permission.READ)
def show_plan(actor: Actor) -> ResponseReturnValue:
    """The form of a new plan, for one kind of place."""
    require(actor, Permission.EXPORT)
    return _plan_page()


@views.post("/plan")
@by_address
@gate(Permission.EXPORT)
def plan(actor: Actor) -> ResponseReturnValue:
    """Have exports made by themselves. The answer is the one page that shows a webhook's secret."""
    checked = proof.typed("plan_proof")
    typed = request.form
    secret = {name: typed.get(name, "")[:20_000] for name in _SECRETS if typed.get(name)}
    words = (typed.get("every", ""), typed.get("history", ""), typed.get("place", ""), typed.get("address", "")[:2_000])
    planned = Planned(*words, secret, typed.get("recipient", "")[:500])
    try:
        with acting() as session:
            _, shown = make_plan(session, actor, planned=planned, keys=parts().keys, checked=checked, now=now())
    except Refused as refused:
        return _plan_page(refused=refused)
    tell("ok", "The plan is made. Its first export goes out within a minute or two.")
    return page("exports/secret.html", shown=shown) if shown else redirect("/exports", 303)


@views.post("/plans/<ref>")
@gate(Permission.EXPORT)
def change_plan(actor: Actor, ref: str) -> ResponseReturnValue:
    """Send one now, or end the plan."""
    ends = request.form.get("do") == "remove"
    try:
        with acting() as session:
            (remove_plan if ends else run_plan)(session, actor, ref=ref, now=now())
    except Refused as refused:
        tell("bad", str(refused))
    else:
        tell("ok" if ends else "live", "The plan is removed." if ends else "One is being made, and goes to its place.")
    return redirect("/exports", 303)


@views.post("/lists/<name>")
@gate(Permission.READ)
def take_list(actor: Actor, name: str) -> ResponseReturnValue:
    """One list as a file."""
    account_id = require(actor, Permission.READ)
    require_person(actor)  # who looks for others takes nothing along
    kind, _ = found(LISTS.get(name))
    reach = Reach(account_id, None)
    with acting() as session:
        list_downloaded(session, actor, name=name, rows=counted(session, Reach(account_id, None, history=False)), now=now())
    named = f'attachment; filename="keychest-{now():%Y-%m-%d}-{name}"'
    return Response(stream_with_context(_streamed(name, reach)), content_type=kind, headers={"Content-Disposition": named})


def _streamed(name: str, reach: Reach) -> Iterator[bytes]:
    with looking() as session:
        for text in LISTS[name][1](session, reach):
            yield text.encode()


@views.post("/calendars")
@gate(Permission.EXPORT)
def open_one(actor: Actor) -> ResponseReturnValue:
    """Open a calendar. The answer is the one page that shows its address."""
    try:
        with acting() as session:
            token = open_calendar(session, actor, name=request.form.get("name", ""), now=now())
    except Refused as refused:
        return _page(actor, refused=refused)
    return _page(actor, calendar_address=f"{parts().public_url}/exports/calendar/{token}.ics")


@views.post("/calendars/close")
@gate(Permission.EXPORT)
def close(actor: Actor) -> ResponseReturnValue:
    """Close one calendar."""
    with acting() as session:
        name = revoke_calendar(session, actor, ref=request.form.get("ref", ""), now=now())
    tell("ok", f"The calendar {found(name)} is closed: its address is worth nothing any more.")
    return redirect("/exports", 303)


@views.get("/calendar/<token>.ics")
@by_address
def read_calendar(token: str) -> ResponseReturnValue:
    """When certificates end, for calendar programs: the address is the proof."""
    account_id, name = found(calendar_of(reading(), token_sha256(token)))
    content = calendar(reading(), account_id, account=name, host=parts().public_url.partition("://")[2])
    response = Response(content, content_type="text/calendar; charset=utf-8", headers={"Cache-Control": "private, no-cache"})
    response.add_etag()
    return response.make_conditional(request)


def _errors(refused: Refused | None) -> Mapping[str, str]:
    """What was refused, by field; "" for all others."""
    return defaultdict(str, {refused.field: str(refused)} if refused is not None else {})


def _page(actor: Actor, *, refused: Refused | None = None, calendar_address: str = "") -> ResponseReturnValue:
    account_id = require(actor, Permission.READ)
    may = allows(actor.role, Permission.EXPORT)
    lines = exports_of(reading(), account_id) if may else ()
    return page(
        "exports/show.html",
        part="exports/_list.html",
        status=200 if refused is None else 422,
        exports=lines,
        going_on=any(each.going_on for each in lines),
        plans=plans_of(reading(), account_id) if may else (),
        calendars=calendars_of(reading(), account_id) if may else (),
        histories=HISTORY_WORDS,
        places=PLACE_WORDS,
        lists=tuple(LISTS),
        calendar_address=calendar_address,
        errors=_errors(refused),
        name=request.form.get("name", "") if refused is not None else "",
    )


def _plan_page(*, refused: Refused | None = None) -> ResponseReturnValue:
    typed: Any = request.form if refused is not None else request.args
    place = typed.get("place", "")
    return page(
        "exports/plan.html",
        status=200 if refused is None else 422,
        place=place if place in PLACES else "mail",
        places=PLACE_WORDS,
        every=tuple(EVERY),
        histories={name: HISTORY_WORDS[name] for name in HISTORY_WORDS if name in HISTORIES},
        typed={name: typed.get(name, "") for name in ("every", "history", "address", "recipient", "region", "access_key", "host_key")},
        errors=_errors(refused),
    )
