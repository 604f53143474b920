"""Where hosts deliver what they saw of accesses to them. Who a host is, its signatures say; nothing here is shown to anybody."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from core.actions.access import Taken, counted_lately, refuse_delivery, take_delivery
from core.actions.reported import looked_through
from core.reported import ForgedError, ReportError, host_of, read_delivery
from core.store.access import Host, host_named
from portal.identity import for_everybody
from portal.limits import by_host
from portal.parts import acting, looking, now

views = Blueprint("access", __name__)
views.before_request(for_everybody)
MOST_BYTES: Final = 512 * 1024
_UNKNOWN: Final = "No host of this name is trusted here. Keep what you have: ./keychest access trust lets it in."


@views.post("/access/reports")
@by_host
def reports() -> ResponseReturnValue:
    """Take in a host's reports: `next` is the number that is wanted next. docs/access.md has the form."""
    told = _json() if (request.content_length or 0) <= MOST_BYTES else None
    try:
        name = host_of(told)
    except ReportError as error:
        return jsonify(error=f"{error} Nothing was taken."), 400
    with looking() as session:
        host = host_named(session, name)
    return _from_host(told, host) if host is not None else (jsonify(error=_UNKNOWN), 403)


def _from_host(told: Any, host: Host) -> ResponseReturnValue:
    try:
        delivery = read_delivery(told, host.name, host.public_key)
    except ReportError as error:
        return _refused(error, host.id, counted=counted_lately(host.refused_at, now()))
    with looking() as session:
        signed = looked_through(session, delivery)
    with acting() as session:
        taken = take_delivery(session, host_id=host.id, beat=delivery.beat, reports=signed, now=now())
    return _answered(taken)


def _refused(error: ReportError, host_id: int, *, counted: bool) -> ResponseReturnValue:
    """What does not hold. Whoever floods us in a host's name takes the database's one writer, and a line of our log, once a minute."""
    if not counted:
        current_app.logger.warning("Something came in a host's name that does not hold: %s", error)
        with acting() as session:
            refuse_delivery(session, host_id=host_id, why=str(error), now=now())
    return jsonify(error=f"{error} Nothing was taken."), 403 if isinstance(error, ForgedError) else 400


def _answered(taken: Taken) -> ResponseReturnValue:
    return (jsonify(error=taken.trouble, next=taken.next, beat=taken.beat), 409) if taken.trouble else jsonify(next=taken.next)


def _json() -> Any:
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None  # nested without end
