"""GET /healthz: whether this installation does its work, for monitors. Says nothing that a stranger could use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from core.broker import answers
from core.patience import within
from core.store.db import Sessions
from core.store.heartbeats import heartbeats, oldest_overdue_at

HEARTBEAT_S = 30.0
OVERDUE_S = 900.0
WORKERS = ("now", "scan", "ops")
blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """How things stand as JSON: 200 when all is well, 503 when one part is not."""
    wiring = current_app.extensions["keychest"]
    queues = (*WORKERS, "backup") if wiring.parts.database_url.startswith("sqlite") else WORKERS  # else another user's, told by alarms
    content, status = health(wiring.sessions, wiring.redis_url, datetime.now(UTC), queues)
    return jsonify(content), status, {"Cache-Control": "no-store"}


def health(sessions: Sessions, redis_url: str, now: datetime, queues: Sequence[str] = WORKERS) -> tuple[dict[str, Any], int]:
    """What `GET /healthz` answers, within about twice PATIENCE_S whatever hangs.

    `status`, `database` and `broker` are "ok" or "bad". An age is None when there is no sign of life; one over HEARTBEAT_S is bad,
    so is a scan that has been due for more than OVERDUE_S.
    """
    seen = within(lambda: _ask(sessions, now))
    beats, overdue_at = seen if seen is not None else ({}, None)
    ages = {name: _age_s(beats.get(name), now) for name in ("clock", *(f"worker.{queue}" for queue in queues))}
    overdue_s = _age_s(overdue_at, now)
    broker = within(lambda: answers(redis_url)) or False
    alive = all(age is not None and age <= HEARTBEAT_S for age in ages.values())
    well = seen is not None and broker and alive and (overdue_s is None or overdue_s <= OVERDUE_S)
    content = {
        "status": _word(well),
        "database": _word(seen is not None),
        "broker": _word(broker),
        "workers": {queue: {"age_s": ages[f"worker.{queue}"]} for queue in queues},
        "clock": {"age_s": ages["clock"]},
        "oldest_overdue_scan_s": overdue_s,
    }
    return content, 200 if well else 503


def _ask(sessions: Sessions, now: datetime) -> tuple[dict[str, datetime], datetime | None] | None:
    try:
        with sessions.reading() as session:
            return heartbeats(session), oldest_overdue_at(session, now)
    except SQLAlchemyError:
        return None


def _age_s(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else round(max(0.0, (now - at).total_seconds()), 1)


def _word(well: bool) -> str:
    return "ok" if well else "bad"
