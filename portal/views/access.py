"""Where hosts deliver what they saw of accesses to them. Who a host is, its signatures say; nothing here is shown to anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from core.actions.access import Taken, counted_lately, refuse_delivery, take_delivery
from core.actions.reported import Signed, hidden_of
from core.reported import Beat, ReportError, holds, is_host_name, read_beat, read_report
from core.store.access import host_named
from portal.identity import for_everybody
from portal.limits import by_host
from portal.parts import acting, looking, now

views = Blueprint("access", __name__)
views.before_request(for_everybody)
MOST_BYTES: Final = 512 * 1024
MOST_REPORTS: Final = 50


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came: whose, the heartbeat with its text, and the reports."""

    host_id: int
    beat: tuple[Beat, str]
    reports: tuple[Signed, ...]


class _ForeignError(Exception):
    """It does not hold. `host_id`: in whose name it came, None where there is no such host; `status` is what is answered."""

    def __init__(self, why: str, status: int = 400, host_id: int | None = None) -> None:
        super().__init__(why)
        self.status, self.host_id = status, host_id


@views.post("/access/reports")
@by_host
def reports() -> ResponseReturnValue:
    """Take in a host's reports: `next` is the number that is wanted next. docs/access.md has the form."""
    try:
        delivery = _read()
    except _ForeignError as foreign:
        if foreign.host_id is not None:
            current_app.logger.warning("Something came in a host's name that does not hold: %s", foreign)
            with acting() as session:
                refuse_delivery(session, host_id=foreign.host_id, why=str(foreign), now=now())
        return jsonify(error=str(foreign)), foreign.status
    with acting() as session:
        taken = take_delivery(session, host_id=delivery.host_id, beat=delivery.beat, reports=delivery.reports, now=now())
    return _answered(taken)


def _answered(taken: Taken) -> ResponseReturnValue:
    return (jsonify(error=taken.trouble, next=taken.next, beat=taken.beat), 409) if taken.trouble else jsonify(next=taken.next)


def _read() -> Delivery:
    """Raises _ForeignError."""
    told = _json() if (request.content_length or 0) <= MOST_BYTES else None
    if not isinstance(told, dict) or not isinstance(told.get("host"), str) or not is_host_name(told["host"]):
        raise _ForeignError("This is no delivery of reports. Nothing was taken.")
    with looking() as session:
        host = host_named(session, told["host"])
        known = (host.id, host.public_key, counted_lately(host.refused_at, now())) if host else None
    if known is None:
        raise _ForeignError("No host of this name is trusted here. Keep what you have: ./keychest access trust lets it in.", 403)
    host_id, key, counted = known
    blamed = None if counted else host_id  # whoever floods us in a host's name takes the database's one writer once a minute
    each = told.get("reports")
    if not isinstance(each, list) or len(each) > MOST_REPORTS:
        raise _ForeignError(f"A delivery has a list of at most {MOST_REPORTS} reports. Nothing was taken.")
    try:
        beat = _signed(told.get("beat"), key, blamed)
        texts = [_signed(one, key, blamed) for one in each]
        reports = [read_report(text, told["host"]) for text, _ in texts]
        with looking() as session:
            hidden = hidden_of(session, reports)
        signed = tuple(Signed(report, *text, kept) for report, text, kept in zip(reports, texts, hidden, strict=True))
        return Delivery(host_id, (read_beat(beat[0], told["host"]), beat[0]), signed)
    except ReportError as error:
        raise _ForeignError(f"{error} Nothing was taken.", 400, blamed) from None


def _json() -> Any:
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None  # nested without end


def _signed(one: Any, key: str, host_id: int | None) -> tuple[str, str]:
    """A text and the signature that holds for it. Raises _ForeignError."""
    text, signature = (one.get("text"), one.get("signature")) if isinstance(one, dict) else (None, None)
    if not isinstance(text, str) or not isinstance(signature, str) or not holds(key, text, signature):
        raise _ForeignError("A signature is not by this host's key. Nothing was taken.", 403, host_id)
    return text, signature
