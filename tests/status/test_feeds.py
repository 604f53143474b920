"""Feeds and the API have the shape that readers expect: RFC 4287, JSON Feed 1.1, and Statuspage's v2 field for field."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import feedparser
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from core.status.feeds import MOST
from core.status.files import files_of
from core.status.told import Told
from tests.status.make import ADDRESS, FEED, MADE, ago, calm_told, empty_told, make_incidents, rich_told, unreachable_told

TOLDS = {"rich": rich_told(), "empty": empty_told(), "calm": calm_told(), "away": unreachable_told()}
ATOM = "{http://www.w3.org/2005/Atom}"
_STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
TEXT, STAMP, URL = (
    {"type": "string", "minLength": 1},
    {"type": "string", "pattern": f"^{_STAMP}$"},
    {"type": "string", "pattern": "^https?://"},
)
AUTHORS = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "properties": {"name": TEXT, "url": URL, "avatar": URL}, "minProperties": 1, "additionalProperties": False},
}
JSON_FEED: dict[str, Any] = {
    "type": "object",
    "required": ["version", "title", "items"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "https://jsonfeed.org/version/1.1"},
        "title": TEXT,
        "home_page_url": URL,
        "feed_url": URL,
        "description": TEXT,
        "user_comment": TEXT,
        "next_url": URL,
        "icon": URL,
        "favicon": URL,
        "authors": AUTHORS,
        "language": {"type": "string", "pattern": "^[a-z]{2,3}(-[A-Za-z0-9]+)*$"},
        "expired": {"type": "boolean"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "anyOf": [{"required": ["content_html"]}, {"required": ["content_text"]}],
                "additionalProperties": False,
                "properties": {
                    "id": TEXT,
                    "url": URL,
                    "external_url": URL,
                    "title": TEXT,
                    "content_html": TEXT,
                    "content_text": TEXT,
                    "summary": TEXT,
                    "image": URL,
                    "date_published": STAMP,
                    "date_modified": STAMP,
                    "authors": AUTHORS,
                    "tags": {"type": "array", "items": TEXT, "uniqueItems": True},
                    "language": TEXT,
                },
            },
        },
    },
}
"""JSON Feed 1.1, as its text has it: what is required, what there may be, of which type."""


def one(parent: ET.Element, name: str) -> ET.Element:
    found = parent.findall(f"{ATOM}{name}")
    assert len(found) == 1, f"{len(found)} of {name}"
    return found[0]


def assert_atom(raw: bytes) -> ET.Element:
    """RFC 4287: sections 4.1.1 (feed) and 4.1.2 (entry), as far as we use them; what it does not name is not there."""
    feed = ET.fromstring(raw.decode())
    assert feed.tag == f"{ATOM}feed"
    for each in (feed, *feed.findall(f"{ATOM}entry")):
        names = {child.tag.removeprefix(ATOM) for child in each}
        allowed = {"id", "title", "updated", "link", "author", "category", "subtitle", "generator", "entry"}
        assert names <= (allowed if each is feed else {"id", "title", "updated", "published", "link", "category", "content"}), names
        assert re.match(r"tag:[a-z0-9.-]+,\d{4}:", one(each, "id").text or "")
        assert one(each, "title").text
        for stamp in ("updated", *(["published"] if each is not feed else [])):
            assert re.fullmatch(_STAMP, one(each, stamp).text or "")
        links = [(link.get("rel"), link.get("type")) for link in each.findall(f"{ATOM}link")]
        assert len(set(links)) == len(links), "one alternate of a type"
        assert ("alternate", "text/html") in links
    assert one(one(feed, "author"), "name").text
    assert [each.get("href") for each in feed.findall(f"{ATOM}link") if each.get("rel") == "self"] == [f"{FEED}/feed.atom"]
    for entry in feed.findall(f"{ATOM}entry"):
        assert one(entry, "content").get("type") == "html"
        assert one(entry, "category").get("term")
    ids = [one(entry, "id").text for entry in feed.findall(f"{ATOM}entry")]
    assert len(set(ids)) == len(ids)
    return feed


@pytest.mark.parametrize("name", TOLDS)
def test_both_feeds_are_valid_and_say_the_same(name: str) -> None:
    files = files_of(TOLDS[name])
    feed, told = assert_atom(files["feed.atom"]), json.loads(files["feed.json"])
    Draft202012Validator(JSON_FEED, format_checker=FormatChecker()).validate(told)
    atom = [
        (one(each, "id").text, one(each, "title").text, one(each, "updated").text, one(each, "content").text)
        for each in feed.findall(f"{ATOM}entry")
    ]
    assert atom == [(each["id"], each["title"], each["date_modified"], each["content_html"]) for each in told["items"]]
    assert told["home_page_url"] == f"{FEED}/"
    assert told["feed_url"] == f"{FEED}/feed.json"
    stamps = [each["date_modified"] for each in told["items"]]
    assert stamps == sorted(stamps, reverse=True)


def test_feeds_tell_of_incidents_accesses_and_a_portal_that_is_away() -> None:
    told = json.loads(files_of(unreachable_told())["feed.json"])["items"]
    by_id = {each["id"].partition(":")[2].partition(":")[2]: each for each in told}
    assert {"incidents/in-mail77", "incidents/pl-disk01", "access/ac-1", "unreachable/2026-11-23T085500Z"} <= set(by_id)
    assert "Nothing was lost." in by_id["incidents/in-mail77"]["content_html"]
    assert "No reason given." in by_id["access/ac-4"]["content_html"]
    assert "migrations give up after 2 s" in by_id["incidents/in-down58"]["content_html"]
    assert by_id["incidents/in-mail77"]["url"] == f"{FEED}/incidents/in-mail77/"
    first = rich_told().accesses[0]
    many = replace(rich_told(), accesses=tuple(replace(first, ref=f"a{number}", started_at=ago(number)) for number in range(150)))
    assert len(json.loads(files_of(many)["feed.json"])["items"]) == MOST


def test_a_feed_without_anything_new_keeps_its_bytes() -> None:
    for told in (rich_told(), empty_told()):
        later = replace(told, made_at=MADE + timedelta(minutes=5))
        assert files_of(later)["feed.atom"] == files_of(told)["feed.atom"]


PAGE = {"id", "name", "url", "time_zone", "updated_at"}
COMPONENT = {
    "id", "name", "status", "created_at", "updated_at", "position", "description", "showcase", "start_date", "group_id", "page_id", "group",
    "only_show_if_degraded",
}  # fmt: skip
INCIDENT = {
    "id", "name", "status", "created_at", "updated_at", "monitoring_at", "resolved_at", "impact", "shortlink", "started_at", "page_id",
    "incident_updates", "components", "reminder_intervals",
}  # fmt: skip
UPDATE = {
    "id", "status", "body", "incident_id", "created_at", "updated_at", "display_at", "affected_components", "deliver_notifications",
    "custom_tweet", "tweet_id",
}  # fmt: skip
STATES = {"operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"}
FIELDS = {
    "summary": {"page", "components", "incidents", "scheduled_maintenances", "status"},
    "status": {"page", "status"},
    "components": {"page", "components"},
    "incidents": {"page", "incidents"},
    "incidents/unresolved": {"page", "incidents"},
    "scheduled-maintenances": {"page", "scheduled_maintenances"},
    "scheduled-maintenances/upcoming": {"page", "scheduled_maintenances"},
    "scheduled-maintenances/active": {"page", "scheduled_maintenances"},
}


def asked(told: Told, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files_of(told)[f"api/v2/{name}.json"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLDS)
def test_the_api_has_the_shape_that_others_read_field_for_field(name: str) -> None:
    files = files_of(TOLDS[name])
    assert {path for path in files if path.startswith("api/")} == {f"api/v2/{each}.json" for each in (*FIELDS, "keychest")}
    for path, names in FIELDS.items():
        said = asked(TOLDS[name], path)
        assert set(said) == names
        assert set(said["page"]) == PAGE
        for part in said.get("components", []):
            assert set(part) == COMPONENT
            assert part["status"] in STATES
        for incident in said.get("incidents", []):
            assert_incident(incident, INCIDENT)
        for work in said.get("scheduled_maintenances", []):
            assert_incident(work, INCIDENT | {"scheduled_for", "scheduled_until"})
            assert work["impact"] == "maintenance"


def assert_incident(incident: dict[str, Any], names: set[str]) -> None:
    assert set(incident) == names
    assert all(set(each) == COMPONENT for each in incident["components"])
    for update in incident["incident_updates"]:
        assert set(update) == UPDATE
        for part in update["affected_components"]:
            assert set(part) == {"code", "name", "old_status", "new_status"}
            assert {part["old_status"], part["new_status"]} <= STATES
    stamps = {key: value for key, value in incident.items() if key.endswith("_at") and value is not None}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp) for stamp in stamps.values()), stamps


@pytest.mark.slow
def test_the_api_says_what_is_open_over_and_ahead() -> None:
    summary = asked(rich_told(), "summary")
    assert [each["id"] for each in summary["incidents"]] == ["in-mail77"]
    assert [each["id"] for each in summary["scheduled_maintenances"]] == ["pl-disk01"]
    assert [each["id"] for each in asked(rich_told(), "incidents")["incidents"]] == ["in-mail77", "in-late33", "in-down58"]
    assert asked(rich_told(), "scheduled-maintenances/active")["scheduled_maintenances"] == []
    mail = summary["incidents"][0]
    assert (mail["monitoring_at"], mail["resolved_at"]) == ("2026-11-23T09:06:00.000Z", None)
    assert [each["id"] for each in mail["incident_updates"]] == ["in-mail77-3", "in-mail77-2", "in-mail77-1"]
    states = {each["id"]: each["status"] for each in summary["components"]}
    assert (states["notifications"], states["portal"]) == ("degraded_performance", "operational")
    assert {each["status"] for each in asked(empty_told(), "components")["components"]} == {"degraded_performance"}
    assert {each["id"]: each["status"] for each in asked(unreachable_told(), "components")["components"]}["portal"] == "major_outage"
    at_work = replace(calm_told(), incidents=(replace(make_incidents()[1], state="in_progress"),))
    assert {each["id"] for each in asked(at_work, "components")["components"] if each["status"] == "under_maintenance"} == {
        "database",
        "backups",
    }
    assert [each["id"] for each in asked(at_work, "scheduled-maintenances/active")["scheduled_maintenances"]] == ["pl-disk01"]
    assert asked(at_work, "scheduled-maintenances/upcoming")["scheduled_maintenances"] == []
    for feed in ("", ADDRESS, f"{ADDRESS}/status"):
        at_portal = asked(replace(rich_told(), feed=feed), "summary")
        assert at_portal["page"]["url"] == f"{ADDRESS}/status"
        assert at_portal["incidents"][0]["shortlink"] == f"{ADDRESS}/incidents/in-mail77/"


@pytest.mark.parametrize("moment", sorted(TOLDS))
def test_a_feed_reader_s_parser_reads_the_atom_feed_without_a_word(moment: str) -> None:
    files = files_of(TOLDS[moment])
    read = feedparser.parse(files["feed.atom"])
    assert not read.bozo, read.get("bozo_exception")
    assert read.version == "atom10"
    listed = json.loads(files["feed.json"])["items"]
    assert [each.id for each in read.entries] == [each["id"] for each in listed]
    assert all(each.link and each.updated_parsed and each.title for each in read.entries)
