"""`./keychest status`: the feed as files, in a folder and at a target, with a log that a stranger proves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from cli import main, place, sequencer, words
from cli.status import keep_putting, keep_watching, look_once
from cli.status_feed import Feed
from cli.status_keeper import made
from core.actions.access import open_shell, trust_host
from core.actions.accounts import token_sha256
from core.actions.heartbeats import beat
from core.actions.impersonations import begin_impersonation
from core.actions.policy import Actor
from core.net.provider import trusting
from core.status.codec import decode
from core.status.told import Told
from core.status.watching import Seen, Watcher
from core.store.accounts import LoginSession, User
from core.store.db import Sessions
from core.store.public_incidents import PublicIncident
from core.targets import open_target
from tests.conftest import ROOT
from tests.hosts import TestHost
from tests.make import TERMINAL, make_watches
from tests.people import person, proof
from tests.status.make import rich_told

Say = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["db", "upgrade"]) == 0
    return tmp_path / "data"


@pytest.fixture
def feed(data: Path) -> Iterator[Feed]:
    made_here = made(place.settings(data=data))
    yield made_here
    made_here.sessions.engine.dispose()


def seal(data: Path) -> None:
    turns = sequencer.made(place.settings(data=data))
    turns.turn(datetime.now(UTC))
    turns.sessions.engine.dispose()


def states(told: Told) -> dict[str, str]:
    return {each.key: each.state for each in told.components}


@pytest.mark.slow
def test_a_stranger_proves_an_access_from_the_published_folder_alone(data: Path, feed: Feed, tmp_path: Path, capsys: Say) -> None:
    host, now = TestHost(tmp_path), datetime.now(UTC)
    line = json.dumps(host.delivery(now, [host.opened(now, "s1"), host.report("completed", now, session="s1", kind="sftp")], still=["s1"]))
    with feed.sessions.writing() as session:
        trust_host(session, TERMINAL, name=host.name, public_key=host.public_key, now=now)
    (tmp_path / "lines").write_text(line)
    assert main.main(["access", "record", str(tmp_path / "lines")]) == 0
    seal(data)
    copy = tmp_path / "copy"
    assert main.main(["status", "publish", str(copy)]) == 0
    told = decode((copy / "api/v2/keychest.json").read_bytes())
    (access,) = told.accesses
    assert (access.host, access.kind, access.ended_at, len(access.entries)) == ("web-1", "sftp", None, 2)
    for _, index in access.entries:
        command = (sys.executable, "-m", "audit", "verify", str(copy / "log"), "--entry", str(index))
        proved = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert proved.returncode == 0, proved.stdout
        assert access.ref in proved.stdout
    assert "192.0.2.7" not in "".join(path.read_text(errors="replace") for path in copy.rglob("*") if path.is_file())
    assert (copy / "index.html").read_text().count("<script") == 0
    capsys.readouterr()
    assert main.main(["status", "publish", str(copy)]) == 0
    assert "files said something new" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_put_in_folders_and_at_targets_and_changed_there(data: Path, feed: Feed, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    seal(data)
    folder, url = tmp_path / "folder", (tmp_path / "target").as_uri()
    assert main.main(["status", "publish", folder.as_uri()]) == 0
    first = (folder / "index.html").read_bytes()
    again = replace(feed, targets=(open_target(url),), folders=(folder,), place=replace(feed.place, version="2"))
    now = datetime.now(UTC)
    for minute in (1, 2):
        again.turn(now + timedelta(minutes=minute))
        assert again.putting is not None
        again.putting.join(20)
        assert (folder / "index.html").read_bytes() == (tmp_path / "target" / "index.html").read_bytes() != first
    for place_of_it in (folder, tmp_path / "target"):
        assert (place_of_it / "log" / "checkpoint").read_bytes() == (data / "log" / "public" / "checkpoint").read_bytes()
    assert (folder / "index.html").stat().st_mode & 0o777 == 0o644


@pytest.mark.slow
@pytest.mark.parametrize(("where", "code"), [("ftp://x/y", words.USAGE), ("/proc/nothing", words.UNAVAILABLE)])
def test_a_place_that_cannot_be_is_answered_in_words(data: Path, capsys: Say, where: str, code: int) -> None:
    assert main.main(["status", "publish", where]) == code
    assert capsys.readouterr().err


@pytest.mark.slow
def test_the_database_that_is_gone_is_told_with_what_was_known_last(data: Path, feed: Feed) -> None:
    now = datetime.now(UTC)
    told = feed.turn(now)
    assert states(told)["database"] == "ok"
    assert states(told)["portal"] == "down"  # nobody serves here
    feed.sessions.engine.dispose()
    gone = replace(feed, sessions=Sessions(sa.create_engine("sqlite:////proc/nothing/keychest.db")))
    told = gone.turn(now + timedelta(minutes=1))
    assert (states(told)["database"], states(told)["scanning"]) == ("down", "down")
    assert told.known_at == now
    page = (feed.public / "index.html").read_text()
    assert "The database does not answer" in page
    back = replace(gone, sessions=feed.sessions).turn(now + timedelta(minutes=2))
    database = next(each for each in back.components if each.key == "database")
    assert (database.state, sum(day.measured_s for day in database.days), sum(day.down_s for day in database.days)) == ("ok", 120, 60)


@pytest.mark.slow
def test_the_watchdog_opens_what_lasts_publishes_it_later_and_ends_it(data: Path, feed: Feed) -> None:
    now = datetime.now(UTC)
    minutes = [feed.turn(now + timedelta(minutes=minute)) for minute in range(16)]
    published = [each for each in minutes[-1].incidents if each.automatic and "portal" in each.components]
    assert [(each.state, each.impact) for each in published] == [("investigating", "critical")]
    assert all(not told.incidents for told in minutes[:10])
    with feed.sessions.reading() as session:
        kinds = set(session.scalars(sa.select(OutboxEvent.kind).where(OutboxEvent.kind.startswith("public_incident"))))
        assert kinds == {"public_incident.opened.v1", "public_incident.published.v1"}
        assert session.scalar(sa.select(sa.func.count()).select_from(PublicIncident).where(PublicIncident.automatic == "down:portal")) == 1


def test_what_has_not_begun_yet_is_not_called_down_until_it_should_have(data: Path, feed: Feed) -> None:
    now = datetime.now(UTC)
    seen = [states(feed.turn(now + timedelta(seconds=seconds))) for seconds in (0, 60, 121)]
    assert [(each["scanning"], each["notifications"]) for each in seen] == [("unmeasured",) * 2] * 2 + [("down",) * 2]
    with feed.sessions.writing() as session:
        for name in ("clock", "worker.scan", "worker.now"):
            beat(session, name, pid=1, now=now + timedelta(seconds=170))
    told = feed.turn(now + timedelta(seconds=180))
    assert (states(told)["scanning"], states(told)["notifications"]) == ("ok", "down")
    scanning = next(each for each in told.components if each.key == "scanning")
    assert sum(day.measured_s for day in scanning.days) == 59  # the first two minutes count for nothing


@pytest.mark.slow
def test_a_change_is_seen_at_once(data: Path, feed: Feed, tmp_path: Path) -> None:
    assert not feed.changed()
    assert not feed.changed()
    with feed.sessions.writing() as session:
        trust_host(session, TERMINAL, name="web-1", public_key=TestHost(tmp_path).public_key, now=datetime.now(UTC))
    assert (
        main.main(["incident", "open", "Mail is late", "--component", "notifications", "--impact", "minor", "--words", "We look at it."])
        == 0
    )
    assert feed.changed()
    assert not feed.changed()


@pytest.mark.slow
def test_what_was_measured_outlives_the_process(data: Path, feed: Feed) -> None:
    now = datetime.now(UTC)
    for minute in range(3):
        feed.turn(now + timedelta(minutes=minute))
    again = made(place.settings(data=data))
    told = again.turn(now + timedelta(minutes=3))
    again.sessions.engine.dispose()
    database: Any = next(each for each in told.components if each.key == "database")
    assert sum(day.measured_s for day in database.days) == pytest.approx(180, abs=2)


@pytest.mark.slow
def test_what_is_not_for_strangers_is_in_no_file(data: Path, feed: Feed, tmp_path: Path) -> None:
    host, now = TestHost(tmp_path), datetime.now(UTC)
    with feed.sessions.writing() as session:
        mira, _ = person(session, "mira@canary-tenant.example")
        make_watches(session, mira, "canary-name.example", now=now)
        ops, token = person(session, "canary-operator@example.net")
        session.execute(sa.update(User).where(User.id == ops.user_id).values(installation_role="operator"))
        trust_host(session, TERMINAL, name=host.name, public_key=host.public_key, now=now)
    checked = proof(feed.sessions, "canary-operator@example.net")
    with feed.sessions.writing() as session:
        sign_in = session.scalars(sa.select(LoginSession.id).where(LoginSession.token_sha256 == token_sha256(token))).one()
        operator = Actor(ops.user_id, ops.user_ref, ops.account_id, ops.account_ref, "owner", "operator")
        began = begin_impersonation(
            session, operator, account_ref=mira.account_ref, reason="canary-look reason", sign_in_id=sign_in, checked=checked, now=now
        )
        assert began
        open_shell(session, TERMINAL, reason="public reason of a shell", person="canary-person", place="shell:", writing=False, now=now)
    private = {"user": "canary-user", "from": "203.0.113.77"}
    reports = [
        host.opened(now, "s1", **private),
        host.report("reason", now, session="s1", reason="public words"),
        host.opened(now, "s2", **private),
        host.report("reason", now, session="s2", reason="a look at canary-name.example"),
    ]
    (tmp_path / "lines").write_text(json.dumps(host.delivery(now, reports, still=["s1", "s2"])))
    assert main.main(["access", "record", str(tmp_path / "lines")]) == 0
    seal(data)
    copy = tmp_path / "copy"
    assert main.main(["status", "publish", str(copy)]) == 0
    everything = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    assert b"public words" in (copy / "access" / "reasons.json").read_bytes()
    assert b"its owners were told why" in everything
    assert b"not told here" in everything
    for canary in (b"canary", b"203.0.113.77", b"mira@"):
        assert canary not in everything, canary


@pytest.mark.slow
def test_a_reason_that_was_erased_is_taken_back_from_the_page_and_from_what_opens_it(data: Path, feed: Feed, tmp_path: Path) -> None:
    with feed.sessions.writing() as session:
        for words_said in ("the first reason of two", "the second reason of two"):
            open_shell(session, TERMINAL, reason=words_said, person="sam", place="shell:", writing=False, now=datetime.now(UTC))
    seal(data)
    copy = tmp_path / "copy"
    assert main.main(["status", "publish", str(copy)]) == 0
    told = decode((copy / "api/v2/keychest.json").read_bytes())
    entry = next(each.entries[0][1] for each in told.accesses if each.reason == "the first reason of two")
    assert main.main(["log", "erase", "--entry", str(entry), "--why", "it names somebody", "--yes"]) == 0
    assert main.main(["status", "publish", str(copy)]) == 0
    told = decode((copy / "api/v2/keychest.json").read_bytes())
    assert {each.reason for each in told.accesses} == {"A reason was given, and was erased since.", "the second reason of two"}
    everything = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    assert b"the first reason" not in everything
    assert b"the second reason" in (copy / "access" / "reasons.json").read_bytes()


def test_damaged_files_of_the_past_and_those_of_another_version_hold_nobody_up(data: Path, feed: Feed) -> None:
    feed.turn(datetime.now(UTC))
    (feed.folder / "scans.json").write_bytes(b"")
    path = feed.public / "api/v2/keychest.json"
    path.write_bytes(path.read_bytes().replace(b'"more_accesses":0,', b""))
    again = made(place.settings(data=data))
    assert (again.samples, again.last) == ((), None)
    again.sessions.engine.dispose()


def test_one_makes_the_feed_and_another_waits(data: Path, feed: Feed) -> None:
    with feed.claimed() as first, replace(feed).claimed() as second:
        assert (first, second) == (True, False)
    with feed.claimed() as again:
        assert again


def watcher(folder: Path) -> Watcher:
    folder.mkdir()
    return Watcher("http://127.0.0.1:1", folder / "copy", folder / "state", "our watcher", trusting(), every_s=0.01)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("http://keychest.example",), "with https://"),
        (("keychest.example",), "as https://keychest.example"),
        (("https://keychest.example/$(id)",), "as https://keychest.example"),
        (("https://keychest.example", "--roots", "/proc/nothing"), "--roots"),
    ],
)
def test_what_cannot_be_watched_is_answered_in_words(tmp_path: Path, capsys: Say, asked: tuple[str, ...], why: str) -> None:
    assert main.main(["status", "watch", *asked, "--publish", str(tmp_path / "copy")]) == words.USAGE
    assert why in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_cannot_be_written_does_not_end_the_watcher(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, stop, looks = watcher(tmp_path / "watch"), threading.Event(), 0
    made.folder.write_text("a file where the folder should be")

    def look() -> Seen:
        nonlocal looks
        looks += 1
        if looks == 2:
            made.folder.unlink()
        if looks == 3:
            stop.set()
        return Seen(trouble="the connection was refused")

    keep_watching(made, stop, look)
    assert caplog.text.count("could not be written") == 1
    assert decode((made.folder / "api/v2/keychest.json").read_bytes()).unreachable_since is not None


def test_pages_are_written_before_the_log_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = watcher(tmp_path / "watch"), Seen(replace(rich_told(), made_at=datetime.now(UTC)), {})

    def copy(watching: Watcher) -> bool:
        assert (watching.folder / "index.html").exists()
        assert watching.state.exists()
        watching.mirrored = "It tells another history."
        return True

    monkeypatch.setattr(Watcher, "copy", copy)
    assert not look_once(made, datetime.now(UTC), lambda: seen)
    assert "It tells another history." in (made.folder / "index.html").read_text()


def test_a_put_that_fails_does_not_end_the_putting(caplog: pytest.LogCaptureFixture) -> None:
    stop, puts = threading.Event(), 0

    def put() -> int:
        nonlocal puts
        puts += 1
        if puts == 1:
            raise words.Sorry("The feed could not be put there: no room.", words.UNAVAILABLE)
        stop.set()
        return 1

    keep_putting(put, lambda: True, stop, 0.01)
    assert puts == 2
    assert "no room. It is tried again" in caplog.text
