"""The feed for programs, in the shape of the widely used Statuspage API v2, so that what reads other status pages reads this one.

That shape knows no state for a part that nobody measured: such a part is `degraded_performance`, and its description says why. It is never
`operational`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from core.status.told import Component, Incident, Told
from core.status.verdict import name_of, open_incidents, over, verdict, work_ahead, work_under_way

_STATES: Final = {"ok": "operational", "late": "degraded_performance", "down": "major_outage", "unmeasured": "degraded_performance"}
_PAGE_ID: Final = "keychest"
_STATUS_STATES: Final = {"minor": "degraded_performance", "major": "partial_outage", "critical": "major_outage"}


def home(told: Told) -> str:
    """Where the feed's pages are, without a slash at the end: the published copy, else the portal, whose first page is `/status`."""
    return told.address if told.feed in {"", told.address, f"{told.address}/status"} else told.feed


def front(told: Told) -> str:
    """The first page's address."""
    return f"{told.address}/status" if home(told) == told.address else f"{told.feed}/"


def api(told: Told) -> dict[str, bytes]:
    """Every file of `api/v2/` in that shape."""
    disturbances = [each for each in told.incidents if each.planned_from is None]
    planned = [each for each in told.incidents if each.planned_from is not None]
    ahead, under_way = work_ahead(told), work_under_way(told)
    parts = [_component(told, each, place) for place, each in enumerate(told.components, 1)]
    open_now = [_incident(told, each) for each in _newest(open_incidents(told))]
    status = {"indicator": verdict(told).indicator, "description": verdict(told).title}
    said: dict[str, dict[str, Any]] = {
        "summary": {
            "components": parts,
            "incidents": open_now,
            "scheduled_maintenances": [_planned(told, each) for each in (*under_way, *ahead)],
            "status": status,
        },
        "status": {"status": status},
        "components": {"components": parts},
        "incidents": {"incidents": [_incident(told, each) for each in _newest(disturbances)]},
        "incidents/unresolved": {"incidents": open_now},
        "scheduled-maintenances": {"scheduled_maintenances": [_planned(told, each) for each in _newest(planned)]},
        "scheduled-maintenances/upcoming": {"scheduled_maintenances": [_planned(told, each) for each in ahead]},
        "scheduled-maintenances/active": {"scheduled_maintenances": [_planned(told, each) for each in under_way]},
    }
    page = {"id": _PAGE_ID, "name": "KeyChest", "url": front(told), "time_zone": "Etc/UTC", "updated_at": _at(told.made_at)}
    return {f"api/v2/{name}.json": as_json({"page": page} | rest) for name, rest in said.items()}


def as_json(value: object) -> bytes:
    """UTF-8, two spaces deep: people read it too."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def host_of(told: Told) -> str:
    """The portal's host name, for identifiers that stay when the copy moves."""
    return urlsplit(told.address).hostname or "localhost"


def _newest(incidents: list[Incident]) -> list[Incident]:
    return sorted(incidents, key=lambda each: (each.opened_at, each.ref), reverse=True)


def _state(told: Told, part: Component) -> str:
    if told.unreachable_since is not None and part.key == "portal":
        return "major_outage"
    at_work = any(part.key in each.components for each in work_under_way(told))
    return "under_maintenance" if at_work and part.state in {"ok", "unmeasured"} else _STATES[part.state]


def _component(told: Told, part: Component, place: int) -> dict[str, Any]:
    oldest = next((each.day.isoformat() for each in part.days if each.measured_s), None)
    return {
        "id": part.key,
        "name": name_of(part.key),
        "status": _state(told, part),
        "created_at": f"{oldest}T00:00:00.000Z" if oldest else _at(told.made_at),
        "updated_at": _at(part.since or part.measured_at or told.made_at),
        "position": place,
        "description": f"Not measured. {part.says}" if part.state == "unmeasured" else part.says,
        "showcase": True,
        "start_date": oldest,
        "group_id": None,
        "page_id": _PAGE_ID,
        "group": False,
        "only_show_if_degraded": False,
    }


def _incident(told: Told, incident: Incident) -> dict[str, Any]:
    ended = incident.ended_at or (incident.changed_at if over(incident) else None)
    parts = {each.key: (each, place) for place, each in enumerate(told.components, 1)}
    return {
        "id": incident.ref,
        "name": incident.title,
        "status": incident.state,
        "created_at": _at(incident.published_at),
        "updated_at": _at(incident.changed_at),
        "monitoring_at": _at(next((each.at for each in incident.updates if each.state == "monitoring"), None)),
        "resolved_at": _at(ended),
        "impact": incident.impact,
        "shortlink": f"{home(told)}/incidents/{incident.ref}/",
        "started_at": _at(incident.opened_at),
        "page_id": _PAGE_ID,
        "incident_updates": [_update(told, incident, place) for place in range(len(incident.updates))],
        "components": [_component(told, *parts[key]) for key in incident.components if key in parts],
        "reminder_intervals": None,
    }


def _planned(told: Told, work: Incident) -> dict[str, Any]:
    said = _incident(told, work) | {"impact": "maintenance", "started_at": _at(work.planned_from)}
    return said | {"scheduled_for": _at(work.planned_from), "scheduled_until": _at(work.planned_until)}


def _update(told: Told, incident: Incident, place: int) -> dict[str, Any]:
    """One word of it. Its identifier counts from the oldest, so that it stays when another is said."""
    said, first = incident.updates[place], place == len(incident.updates) - 1
    status = "operational" if over(incident) and place == 0 else _STATUS_STATES.get(incident.impact, "operational")
    if incident.planned_from is not None:
        status = "under_maintenance" if said.state in {"in_progress", "verifying"} else "operational"
    before = "operational" if first else status
    return {
        "id": f"{incident.ref}-{len(incident.updates) - place}",
        "status": said.state,
        "body": said.words,
        "incident_id": incident.ref,
        "created_at": _at(said.at),
        "updated_at": _at(said.at),
        "display_at": _at(said.at),
        "affected_components": [
            {"code": key, "name": name_of(key), "old_status": before, "new_status": status}
            for key in incident.components
            if any(each.key == key for each in told.components)
        ],
        "deliver_notifications": True,
        "custom_tweet": None,
        "tweet_id": None,
    }


def _at(at: datetime | None) -> Any:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at is not None else None
