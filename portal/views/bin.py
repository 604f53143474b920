"""The bin: what was removed in the last 30 days, when and by whom, and the way back."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from flask.typing import ResponseReturnValue

from core.actions.domains import restore_watches
from core.actions.policy import Actor, Permission, require
from core.render import plural
from core.store.listing import PAGE, binned
from portal.gate import gate
from portal.html import page, tell
from portal.parts import acting, now, reading

views = Blueprint("bin", __name__)


@views.get("/bin")
@gate(Permission.READ)
def show(actor: Actor) -> ResponseReturnValue:
    """What can be brought back, newest first."""
    after = request.args.get("after", "")
    kept = binned(reading(), require(actor, Permission.READ), now(), after)
    return page("bin/page.html", part="bin/_list.html", tab="bin", bin=kept, later=bool(after))


@views.post("/bin/restore")
@gate(Permission.RESTORE_DOMAINS)
def restore(actor: Actor) -> ResponseReturnValue:
    """Bring the selected names back."""
    refs = request.form.getlist("ref")[:PAGE]
    with acting() as session:
        restored = restore_watches(session, actor, refs=refs, now=now())
    if restored:
        tell("ok", f"{plural(restored, 'name')} brought back, and scanned again.")
    elif refs:
        tell("info", "These names are watched again already, or are no longer in the bin. Nothing was changed.")
    else:
        tell("info", "Nothing was selected, so nothing was changed. Tick the names first.")
    return redirect("/bin", 303)
