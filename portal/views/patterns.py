"""Patterns: every component in every state, for who builds pages. The same for everybody, and nobody's data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint
from flask.typing import ResponseReturnValue

from portal import charts
from portal.html import page

views = Blueprint("patterns", __name__)
_AT = datetime(2026, 11, 23, 9, 14, 22, tzinfo=UTC)
_DAY = timedelta(days=1)
_MADE = {(_AT - _DAY * back).date().isoformat(): 1_912 for back in range(26)}
_MISSED = {(_AT - _DAY * 9).date().isoformat(): 14}
_LABEL = "replica-eu-central-1-customer-statements-archive-read-only-nod"
LONGEST = f"{_LABEL}.{_LABEL}.{_LABEL}.customer-statement-archive-pool-01-r-eu-central-01-ab.hl.example"


@views.get("/ui")
def show() -> ResponseReturnValue:
    """The page, with a fixed day in it."""
    lives = {
        "in use": charts.life(_AT - 20 * _DAY, _AT + 70 * _DAY, _AT),
        "due": charts.life(_AT - 85 * _DAY, _AT + 5 * _DAY, _AT),
        "ended": charts.life(_AT - 93 * _DAY, _AT - 3 * _DAY, _AT),
        "of six days": charts.life(_AT - 2 * _DAY, _AT + 4 * _DAY, _AT),
    }
    minis = [charts.mini_life(_AT - used * _DAY, _AT + (90 - used) * _DAY, _AT) for used in (20, 85, 93)]
    return page("patterns/show.html", tab="", at=_AT, lives=lives, minis=minis, days=charts.days(_MADE, _MISSED, _AT), longest=LONGEST)
