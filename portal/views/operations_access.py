"""Who had access to production, as those see it who run the installation: the person, from where, and which hosts are believed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.access import give_reason
from core.actions.policy import Actor, Permission, Refused, require_installation
from core.status.told import NO_REASON_AFTER_S
from core.store.access import accesses_counted, accesses_since, hosts_there
from portal.gate import found, gate
from portal.html import page, tell
from portal.parts import acting, now, reading

views = Blueprint("operations_access", __name__, url_prefix="/operations/access")
_SHOWN: Final = timedelta(days=90)
_MOST: Final = 300
_PATH: Final = "/operations/access"


@views.get("/")
@gate(Permission.SEE_OPERATIONS)
def show(actor: Actor) -> ResponseReturnValue:
    """Hosts, and the accesses of 90 days."""
    require_installation(actor, Permission.SEE_OPERATIONS)
    return _page()


@views.post("/<ref>/reason")
@gate(Permission.OPERATE)
def reason(actor: Actor, ref: str) -> ResponseReturnValue:
    """Say why somebody was there."""
    said = request.form.get("reason", "")
    try:
        with acting() as session:
            found(give_reason(session, actor, ref=ref, reason=said, now=now()) or None)
    except Refused as refusal:
        return _page(ref=ref, said=said, error=str(refusal))
    tell("ok", "The reason stands, and the log says that it was given later.")
    return redirect(_PATH, 303)


def _page(*, ref: str = "", said: str = "", error: str = "") -> ResponseReturnValue:
    since = now() - _SHOWN
    lines = accesses_since(reading(), since, now(), most=_MOST)
    return page(
        "operations/access.html",
        status=422 if error else 200,
        tab="operations",
        at="access",
        hosts=hosts_there(reading()),
        lines=lines,
        more=accesses_counted(reading(), since) > len(lines),
        overdue=now() - timedelta(seconds=NO_REASON_AFTER_S),
        asked=ref,
        said=said,
        error=error,
    )
