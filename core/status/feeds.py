"""What happens, for feed readers: Atom (RFC 4287) and JSON Feed 1.1, with one entry per incident, planned work and access.

Identifiers are tag URIs (RFC 4151) of the portal's host: they stay when the copy moves to another address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.net.text import visible
from core.render import render, shown_in, under
from core.status.api import as_json, front, home, host_of
from core.status.seen import SAID, seen_access, seen_incident
from core.status.told import Incident, SeenAccess, Told

MOST: Final = 100
TITLE: Final = "KeyChest status"
SUBTITLE: Final = "Incidents, planned work, and every access of a person to production."


@dataclass(frozen=True, slots=True)
class Item:
    """One entry. `html`: what it says, as a fragment of HTML in which all that people wrote is escaped."""

    id: str
    url: str
    title: str
    published: datetime
    updated: datetime
    tag: str
    html: str


def feeds(told: Told) -> dict[str, bytes]:
    """`feed.atom` and `feed.json`."""
    found = items(told)
    updated = max((each.updated for each in found), default=told.made_at.replace(hour=0, minute=0, second=0, microsecond=0))
    values = {"id": _tag(told, "status"), "title": TITLE, "subtitle": SUBTITLE, "home": front(told), "version": spelled_out(told.version)}
    atom = render("status/feed.atom", items=found, updated=_at(updated), here=f"{home(told)}/feed.atom", at=_at, **values)
    return {"feed.atom": atom.encode() + b"\n", "feed.json": as_json(_json(told, found))}


def items(told: Told) -> list[Item]:
    """The newest of all that the feed tells, what changed last first."""
    found = [_incident(told, each) for each in told.incidents] + [_access(told, each) for each in told.accesses]
    found += [_away(told, told.unreachable_since)] if told.unreachable_since else []
    return sorted(found, key=lambda each: (each.updated, each.id), reverse=True)[:MOST]


def spelled_out(text: str) -> str:
    """Text in which what cannot be seen is named, as U+202E: XML takes no control characters, and readers show none."""
    lines = ("".join(f"[{run}]" if hidden else run for hidden, run in visible(line)) for line in text.split("\n"))
    return "\n".join(lines)


def _json(told: Told, found: list[Item]) -> dict[str, Any]:
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "home_page_url": front(told),
        "feed_url": f"{home(told)}/feed.json",
        "description": SUBTITLE,
        "authors": [{"name": "KeyChest", "url": told.address}],
        "language": "en",
        "items": [
            {
                "id": each.id,
                "url": each.url,
                "title": each.title,
                "content_html": each.html,
                "date_published": _at(each.published),
                "date_modified": _at(each.updated),
                "tags": [each.tag],
            }
            for each in found
        ],
    }


def _incident(told: Told, incident: Incident) -> Item:
    one, planned = seen_incident(incident), incident.planned_from is not None
    title = f"{spelled_out(incident.title)} ({one.word})"
    url, html = (
        f"{home(told)}/incidents/{incident.ref}/",
        _html("said.html", one=one, said_as=lambda state: SAID.get(state, ("info", state))),
    )
    tag = "planned work" if planned else "incident"
    return Item(_tag(told, f"incidents/{incident.ref}"), url, title, incident.published_at, incident.changed_at, tag, html)


def _access(told: Told, access: SeenAccess) -> Item:
    row = seen_access(access, told)
    host = f" on {spelled_out(access.host)}" if access.host and access.kind != "portal" else ""
    title = f"Access to production: {spelled_out(access.role)}, {row.way}{host}"
    last = access.ended_at or access.started_at
    html = _html("said_access.html", row=row)
    return Item(_tag(told, f"access/{access.ref}"), f"{home(told)}/access/", title, access.started_at, last, "access", html)


def _away(told: Told, since: datetime) -> Item:
    mark = _at(since).replace(":", "")
    html = _html("said_away.html", told=told)
    return Item(_tag(told, f"unreachable/{mark}"), front(told), "The portal cannot be reached", since, since, "incident", html)


def _html(template: str, **values: Any) -> str:
    with shown_in("", ""), under(""):
        return render(f"status/{template}", **values)


def _tag(told: Told, path: str) -> str:
    return f"tag:{host_of(told)},2026:{path}"


def _at(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
