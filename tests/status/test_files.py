"""The published folder: the same bytes for the same value, links that lead somewhere, and nothing of what strangers wrote as markup."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from html.parser import HTMLParser
from posixpath import dirname, join, normpath
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from core.render import shown_in, under
from core.status.bars import bars, share
from core.status.files import files_of
from core.status.told import COMPONENTS, Component, Day, Incident, Told
from core.status.verdict import verdict
from tests.status.make import ADDRESS, FEED, MADE, ago, calm_told, empty_told, make_component, make_incidents, rich_told, unreachable_told

TOLDS = {"rich": rich_told(), "empty": empty_told(), "calm": calm_told(), "away": unreachable_told()}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp\x00\x1b]]>&lt;{{7*7}}"
NOT_TOUCHED = {"ref", "key", "link", "address", "feed", "state", "kind", "impact", "ending", "components", "root"}


class Page(HTMLParser):
    """What a page is made of: its elements, links, and the handlers in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(told: Told, path: str = "index.html") -> str:
    return re.sub(r"\s+", " ", Page(files_of(told)[path].decode()).text)


def spoil(value: Any, name: str = "") -> Any:
    """The same value with hostile text wherever people or hosts write text."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: spoil(getattr(value, field.name), field.name) for field in fields(value)}
        return type(value)(**given)
    if isinstance(value, tuple) and name not in NOT_TOUCHED:
        return tuple(spoil(each) for each in value)
    return HOSTILE if isinstance(value, str) and name not in NOT_TOUCHED else value


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLDS)
def test_the_same_value_gives_the_same_bytes_whoever_looks(name: str) -> None:
    first = files_of(TOLDS[name])
    with shown_in("Europe/Prague", "cs"), under("/elsewhere/"):
        assert files_of(TOLDS[name]) == first
    assert {path for path in first if path.startswith("badge/")} == {f"badge/{key}.svg" for key in ("status", *COMPONENTS)}


@pytest.mark.parametrize("name", TOLDS)
def test_every_link_leads_to_a_file_of_the_folder_or_to_the_portal(name: str) -> None:
    files = files_of(TOLDS[name])
    for path, content in files.items():
        if not path.endswith(".html"):
            continue
        found = Page(content.decode())
        assert "script" not in found.tags
        for link in found.links:
            if link.startswith("#"):
                continue
            if link.startswith(f"{ADDRESS}/"):
                assert re.fullmatch(rf"{ADDRESS}/(check|sign-in|status/subscribe|log/entries/\d+/\d+)?", link), link
                continue
            target = re.split(r"[?#]", normpath(join(dirname(path), link)))[0]
            assert not link.startswith(("/", "http")), link
            assert target == "log" or target in files or f"{target}/index.html" in files, f"{path}: {link}"


@pytest.mark.slow
def test_hostile_text_stays_text_in_every_file() -> None:
    told = spoil(rich_told())
    for whole in (told, replace(told, unreachable_since=ago(1), known_at=ago(2))):
        for path, content in files_of(whole).items():
            text = content.decode()
            kind = path.rpartition(".")[2]
            if path.startswith("static/"):
                continue
            if kind == "html":
                plain = Page(text)
                assert "script" not in plain.tags, path
                assert not [each for each in plain.names if each.startswith("on")], path
                assert plain.tags.count("img") == (7 if path == "index.html" else 0), path
                assert "\u202e" not in text, path
                assert "\x00" not in text, path
                assert "{{7*7}}" in plain.text or path == "measures/index.html" or "49" not in plain.text
            elif kind in {"atom", "svg"}:
                root = ET.fromstring(text)
                assert not [each for each in root.iter() if each.tag.rpartition("}")[2] in {"script", "img"}], path
                for each in root.iter("{http://www.w3.org/2005/Atom}content"):
                    assert "<script" not in (each.text or "")
                    assert "<img" not in (each.text or "")
            else:
                assert json.loads(text), path
    for item in json.loads(files_of(told)["feed.json"])["items"]:
        assert "<script" not in item["content_html"]
        assert "<img" not in item["content_html"]
    assert json.loads(files_of(told)["api/v2/incidents.json"])["incidents"][0]["name"] == HOSTILE


def test_a_value_that_leads_out_of_the_folder_makes_no_file() -> None:
    incident = replace(make_incidents()[0], ref="../../etc/passwd")
    with pytest.raises(ValueError, match="is no reference"):
        files_of(replace(rich_told(), incidents=(incident,)))


MAIL, WORK = make_incidents()[:2]


def with_parts(*parts: Component) -> Told:
    return replace(calm_told(), components=parts)


def with_incident(incident: Incident, **changed: Any) -> Told:
    return replace(calm_told(), incidents=(replace(incident, **changed),))


BOTH = with_parts(make_component("scanning", "late"), make_component("backups", "down"), make_component("log", "down"))
VERDICTS = {
    "rich": (rich_told(), "minor", "Notifications are late"),
    "calm": (calm_told(), "none", "All works"),
    "empty": (empty_told(), "minor", "Nothing is measured yet"),
    "away": (unreachable_told(), "critical", "The portal cannot be reached"),
    "one down": (with_parts(make_component("log", "down")), "major", "The log is down"),
    "the heart": (with_parts(make_component("portal", "down")), "critical", "Web and API are down"),
    "both": (BOTH, "major", "Backups and The log are down, Checks are late"),
    "an incident alone": (with_incident(MAIL), "minor", MAIL.title),
    "a critical one": (with_incident(MAIL, impact="critical"), "critical", MAIL.title),
    "work ahead": (with_incident(WORK), "none", "All works"),
    "work": (with_incident(WORK, state="in_progress"), "maintenance", "All works while planned work goes on"),
    "a blind spot": (with_parts(make_component("log"), make_component("backups", "unmeasured")), "minor", "All that is measured works"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VERDICTS)
def test_the_page_begins_with_what_is_wrong(name: str) -> None:
    told, indicator, title = VERDICTS[name]
    assert (verdict(told).indicator, verdict(told).title) == (indicator, title)
    assert re.search(rf"<h1>{re.escape(title)}</h1>", files_of(told)["index.html"].decode())
    assert json.loads(files_of(told)["api/v2/status.json"])["status"] == {"indicator": indicator, "description": title}


def test_the_first_page_says_what_the_feed_says() -> None:
    text = page(rich_told())
    for words in (
        "E-mail leaves up to 9 minutes late. Since 23 Nov 2026, 08:31",
        "1,284 of 1,284 accounts can be restored, proven 23 Nov 2026, 03:14 by restoring them",
        "1,912 made, 0 missed",
        "No reason given",
        "None came within 24 hours",
        "It may come until 24 Nov 2026, 07:14",
        "The host stopped before it could say",
        "The host’s clock was 412 s ahead",  # noqa: RUF001 - an apostrophe
        "python -m audit verify https://keychest.example/log --entry 48200",
        "certwatch.example not this head",
        "Opened by the watchdog, not by a person",
        "Planned from 26 Nov 2026, 09:14 until 26 Nov 2026, 11:14",
    ):
        assert words in text, words
    assert text.count("No reason given") == 1
    assert re.search(r"ams-2 ?Silent ?23 Nov 2026, 06:14 ?2 ?1", text)
    assert not re.search(r"\d (s|min|h|days?) ago", text)


def test_badges_say_in_words_how_things_are() -> None:
    said = {}
    for name, told in TOLDS.items():
        for path, content in files_of(told).items():
            if path.startswith("badge/"):
                root = ET.fromstring(content.decode())
                said[name, path[6:-4]] = root.findtext("{http://www.w3.org/2000/svg}title")
                assert root.get("aria-label") == said[name, path[6:-4]]
                assert ": ".join(root.itertext()).count(said[name, path[6:-4]] or "none") == 2, "in the title, and drawn"
    assert (said["rich", "status"], said["rich", "notifications"], said["rich", "log"]) == (
        "KeyChest: in part",
        "Notifications: late",
        "The log: works",
    )
    assert (said["calm", "status"], said["empty", "status"]) == ("KeyChest: works", "KeyChest: not measured")
    assert (said["away", "status"], said["away", "log"]) == ("KeyChest: not reached", "The log: not reached")


def test_where_logs_follow_each_other_each_proof_names_its_own() -> None:
    rich = rich_told()
    assert rich.log is not None
    text = page(replace(rich, log=replace(rich.log, number=2)))
    assert "audit verify https://keychest.example/log --log 1 --entry 48200" in text
    assert "audit verify https://keychest.example/log --log 2 --since seen.txt" in text
    assert "--log" not in page(rich)


@pytest.mark.slow
def test_what_is_not_known_is_said_as_such() -> None:
    text = page(empty_told())
    for words in (
        "Nothing is proven yet",
        "No host reports yet",
        "No incident in 90 days",
        "not counted yet",
        "Nobody knows how these are",
    ):
        assert words in text, words
    assert "Nothing is measured yet" in page(empty_told(), "measures/index.html")
    silent = replace(rich_told(), accesses=())
    assert "Of the silent ones nobody knows" in page(silent)
    assert "none of them saw a person" in page(replace(silent, hosts=silent.hosts[:1]))
    assert "Who was on the machines themselves, this page cannot say" in page(replace(rich_told(), hosts=()))
    away = page(unreachable_told())
    assert "Since 23 Nov 2026, 08:55. Three places on other networks asked every 15 s, and none was answered." in away
    assert "what the portal last said, at 23 Nov 2026, 08:54" in away
    assert "Works" not in away
    assert "as they were known at 23 Nov 2026, 08:54: nothing could be asked since" in page(replace(rich_told(), known_at=ago(minutes=20)))
    assert "nothing could be asked since" not in page(replace(rich_told(), known_at=ago(minutes=4)))
    assert "What this page says was known at 23 Nov 2026, 08:54" in page(unreachable_told(), "access/index.html")
    assert "Not yet" in page(rich_told(), "measures/index.html")
    for feed, where in ((FEED, FEED), (f"{ADDRESS}/status", ADDRESS), ("", ADDRESS)):
        assert f"curl -sO {where}/access/reasons.json" in page(replace(rich_told(), feed=feed), "access/index.html")
    assert "There is no evidence yet" in page(rich_told(), "measures/index.html")


def test_open_accesses_stay_on_the_first_page_and_all_are_on_their_own() -> None:
    first = rich_told().accesses[3]
    many = tuple(replace(first, ref=f"ac-{number}", reason=f"reason {number}.", started_at=ago(number)) for number in range(2, 42))
    told = replace(rich_told(), accesses=(*many, replace(first, ref="ac-old", reason="still there", ending="", ended_at=None)))
    text = page(told)
    assert "reason 9." in text
    assert "reason 10." not in text
    assert "still there" in text
    assert "All 41" in text
    assert "reason 41." in page(told, "access/index.html")


def test_bars_say_by_height_and_in_words_what_colours_say() -> None:
    days = (Day(ago(2).date(), 86_400, 0, 60), Day(ago(1).date(), 86_400, 1, 0), Day(MADE.date(), 0, 0, 0))
    made = bars(days, MADE.date())
    says = 'aria-label="90 days to 23 Nov 2026: 0 calm; 88 not measured; 21 Nov 2026 down; 22 Nov 2026 late or partly down"'
    assert says in made.drawn
    assert made.drawn.count("<rect") == 90
    assert made.drawn.count('class="s-unk"') == 88
    assert re.search(r'class="f-bad" x="[\d.]+%" y="0" width="[\d.]+%" height="24"', made.drawn)
    assert re.search(r'class="f-soon" x="[\d.]+%" y="6" width="[\d.]+%" height="18"', made.drawn)
    assert made.share == "99.964\u00a0%"
    assert bars((), MADE.date()).share == ""
    assert share([Day(MADE.date(), 86_400 * 90, 1, 0)]) == "99.999\u00a0%", "never rounded up to all"
    many = tuple(Day((MADE - timedelta(days=number)).date(), 86_400, 0, 1) for number in range(9))
    assert "9 down" in bars(many, MADE.date()).drawn
