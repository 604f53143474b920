"""The feed's pages: the same bytes at the portal and in a folder that was copied elsewhere, since their links are relative.

The first page is served as `/status` and lies at the top as `index.html`: what it links to is found from the top.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from core.render import render, shown_in, under
from core.status.api import home
from core.status.bars import DAYS, bars, in_full, state_of
from core.status.seen import SAID, SeenRow, lasted, proofs, seen_access, seen_incident
from core.status.told import Told
from core.status.verdict import name_of, verdict, work_under_way, wrong_parts

ROWS: Final = 8
"""So many accesses stand on the first page, and every open one."""
OLD: Final = timedelta(minutes=5)
"""What was known longer ago than this is said to be so."""
BADGE_WORDS: Final = {"ok": "works", "late": "late", "down": "down", "unmeasured": "not measured"}
MADE_MARK: Final = "<!-- made {} -->"
"""Stands in every page where a portal puts in that the page is not made anew. What strangers wrote cannot look like it: it is escaped."""


def pages(told: Told) -> dict[str, bytes]:
    """Every page by its path."""
    found = {"index.html": _page("index.html", told, "", **_index(told))}
    found["measures/index.html"] = _page("measures.html", told, "../", kept=sum(each.state == "kept" for each in told.measures))
    found["access/index.html"] = _page("access.html", told, "../", home=home(told), **_accesses(told))
    for incident in told.incidents:
        found[f"incidents/{incident.ref}/index.html"] = _page("incident.html", told, "../../", one=seen_incident(incident))
    return found


def made_mark(at: datetime) -> str:
    """The comment that says when a page was made."""
    return MADE_MARK.format(at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def _page(template: str, told: Told, top: str, **values: Any) -> bytes:
    with shown_in("", ""), under(top):
        return render(
            f"status/{template}",
            told=told,
            top=top,
            here=template.removesuffix(".html"),
            stale_mark=Markup(made_mark(told.made_at)),  # noqa: S704 - a time, in our own comment
            said_as=lambda state: SAID.get(state, ("info", state)),
            names=name_of,
            **values,
        ).encode()


def _index(told: Told) -> dict[str, Any]:
    until = told.made_at.date()
    odd = [(part.key, day) for part in told.components for day in part.days if state_of(day) in {"late", "down"}]
    rows = [seen_access(each, told) for each in told.accesses]
    return {
        "verdict": verdict(told),
        "older": not told.unreachable_since and told.known_at is not None and told.made_at - told.known_at > OLD,
        "wrong": wrong_parts(told),
        "work": work_under_way(told),
        "unmeasured": [name_of(each.key) for each in told.components if each.state == "unmeasured"],
        "parts": [(each, bars(each.days, until)) for each in told.components],
        "odd": sorted(odd, key=lambda each: (each[1].day, each[0]), reverse=True),
        "first_day": told.made_at - timedelta(days=DAYS - 1),
        "in_full": in_full,
        "lasted": lasted,
        "incidents": [seen_incident(each) for each in told.incidents],
        "rows": [row for place, row in enumerate(rows) if place < ROWS or row.open],
        "drill": proofs(told.backups.drill if told.backups else (), told),
        "log_option": f" --log {told.log.number}" if told.log and told.log.number > 1 else "",
        "badge_words": BADGE_WORDS,
    }


def _accesses(told: Told) -> dict[str, Any]:
    rows: list[SeenRow] = [seen_access(each, told) for each in told.accesses]
    return {"rows": rows, "open": sum(each.open for each in rows), "unreasoned": sum(each.reason == "none" for each in rows)}
