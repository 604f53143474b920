"""A watcher tells what is down, since when and how it knows, within two minutes; and nothing that it does not know."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import core.status.watching as watching_module
from core.net.provider import trusting
from core.status.codec import decode, encode
from core.status.files import ITSELF, files_of
from core.status.told import Told
from core.status.watching import KEPT, Seen, Watcher, WatchError
from tests.servers import drip, raw_server
from tests.status.make import MADE, rich_told

WELL = {"status": "ok", "database": "ok", "broker": "ok"}
STEP = timedelta(seconds=30)
NOBODY = Seen(trouble="the connection was refused")


def watcher(folder: Path, url: str = "http://127.0.0.1:1") -> Watcher:
    (folder / "copy").mkdir(exist_ok=True)
    made = Watcher(url, folder / "copy", folder / "state", "ams-watch", trusting())
    made.load()
    return made


def well(at: datetime, **health: str) -> Seen:
    return Seen(replace(rich_told(), made_at=at), WELL | health)


def state(told: Told, key: str) -> str:
    return next(each.state for each in told.components if each.key == key)


@pytest.fixture
def watching(tmp_path: Path) -> Watcher:
    return watcher(tmp_path)


def test_that_nobody_answers_is_told_within_two_minutes_with_since_when_and_how(watching: Watcher) -> None:
    at = MADE
    told = watching.turn(at, lambda: well(at))
    assert (told.unreachable_since, state(told, "portal"), told.how) == (None, "ok", "")
    gone = at + STEP
    told = watching.turn(gone, lambda: NOBODY)
    assert told.unreachable_since is None  # one look may fail
    for number in range(1, 4):
        told = watching.turn(gone + number * STEP, lambda: NOBODY)
    assert gone + 3 * STEP - at <= timedelta(minutes=2)
    assert told.unreachable_since == gone
    assert told.known_at == rich_told().known_at
    assert "ams-watch" in told.how
    assert "refused" in told.how
    assert "http://127.0.0.1:1" in told.how
    assert state(told, "portal") == "down"
    assert {state(told, key) for key in ("scanning", "database", "log")} == {"unmeasured"}
    assert told.incidents[0].title == "The portal cannot be reached"
    files = files_of(told)
    summary = json.loads(files["api/v2/summary.json"])
    assert summary["status"]["indicator"] == "critical"
    assert b"refused" in files["index.html"]


def test_it_catches_up_when_the_portal_is_back(watching: Watcher) -> None:
    watching.turn(MADE, lambda: well(MADE))
    for number in range(1, 6):
        watching.turn(MADE + number * STEP, lambda: NOBODY)
    back = MADE + 6 * STEP
    told = watching.turn(back, lambda: well(back))
    assert (told.unreachable_since, told.how, state(told, "portal"), state(told, "database")) == (None, "", "ok", "ok")
    first = told.incidents[0]
    assert (first.title, first.state, first.opened_at, first.ended_at) == ("The portal could not be reached", "resolved", MADE + STEP, back)
    portal = next(each for each in told.components if each.key == "portal")
    assert portal.days[-1].down_s == pytest.approx(120)  # from the second failed look to the good one
    later = watching.turn(back + KEPT + timedelta(days=1), lambda: well(back + KEPT + timedelta(days=1)))
    assert all(not each.ref.startswith("out") for each in later.incidents)


@pytest.mark.parametrize(
    ("health", "down", "fine"),
    [
        ({"database": "bad"}, {"database", "scanning", "notifications"}, {"portal"}),
        ({"broker": "bad"}, {"scanning", "notifications"}, {"portal", "database"}),
    ],
)
def test_a_database_or_broker_that_is_gone_is_told_by_what_the_portal_says_of_it(
    watching: Watcher, health: dict[str, str], down: set[str], fine: set[str]
) -> None:
    told = watching.turn(MADE, lambda: well(MADE, **health))
    assert {each.key for each in told.components if each.state == "down"} >= down
    assert {state(told, key) for key in fine} == {"ok"}


def test_a_portal_whose_measuring_stopped_is_told_as_not_measured(watching: Watcher) -> None:
    old = replace(rich_told(), made_at=MADE)
    told = watching.turn(MADE + timedelta(minutes=6), lambda: Seen(old, WELL))
    assert state(told, "portal") == "ok"
    assert state(told, "scanning") == "unmeasured"
    assert "has said nothing since 09:14 UTC" in told.how


def test_a_feed_that_is_none_is_told_and_the_last_one_stays(watching: Watcher) -> None:
    watching.turn(MADE, lambda: well(MADE))
    told = watching.turn(MADE + STEP, lambda: Seen(None, WELL, "its feed cannot be read: It is not JSON."))
    assert state(told, "portal") == "late"
    assert told.accesses == rich_told().accesses
    assert told.unreachable_since is None


@pytest.mark.slow
def test_what_it_knows_outlives_it(watching: Watcher, tmp_path: Path) -> None:
    watching.turn(MADE, lambda: well(MADE))
    for number in range(1, 4):
        watching.turn(MADE + number * STEP, lambda: NOBODY)
    watching.keep(encode(watching.last) if watching.last else None)
    again = watcher(tmp_path)
    assert (again.tally, again.outages, again.last) == (watching.tally, watching.outages, watching.last)
    assert (again.fails, again.failing_since) == (3, MADE + STEP)
    told = again.turn(MADE + 4 * STEP, lambda: NOBODY)
    assert told.unreachable_since == MADE + STEP
    for damaged in (b"[]", b'{"keychest-watch-1": [["x", ""]]}', b"{", b'{"fails": "x"}', b'{"failing_since": 7}', b"[" * 250_000):
        (tmp_path / "state").write_bytes(damaged)
        with pytest.raises(WatchError, match="Move it away"):
            watcher(tmp_path)


def test_looks_before_and_after_a_start_count_in_a_row_unless_the_watcher_was_away(watching: Watcher, tmp_path: Path) -> None:
    watching.turn(MADE, lambda: NOBODY)
    watching.keep()
    assert watcher(tmp_path).turn(MADE + STEP, lambda: NOBODY).unreachable_since == MADE
    late = MADE + timedelta(days=2)
    again = watcher(tmp_path)
    assert again.turn(late, lambda: NOBODY).unreachable_since is None
    assert again.turn(late + STEP, lambda: NOBODY).unreachable_since == late


def test_a_new_watcher_of_a_portal_that_was_never_reached_says_so(watching: Watcher) -> None:
    for number in range(3):
        told = watching.turn(MADE + number * STEP, lambda: NOBODY)
    assert told.unreachable_since == MADE
    assert b"cannot be reached" in files_of(told)["index.html"]


def test_a_real_port_without_anybody_is_not_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    seen = watcher(tmp_path, f"http://127.0.0.1:{port}").look()
    assert (seen.told, seen.health) == (None, None)
    assert seen.trouble


def test_the_feed_travels_as_it_is(tmp_path: Path) -> None:
    told: Any = decode(files_of(rich_told())[ITSELF])
    assert told == rich_told()


def odd(**accesses: Any) -> Told:
    told = rich_told()
    return replace(told, accesses=(replace(told.accesses[0], **accesses), *told.accesses[1:]))


LAST_DAY = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


def test_a_feed_of_which_no_pages_can_be_made_is_told_and_the_last_one_stays(watching: Watcher) -> None:
    far = decode(encode(replace(odd(started_at=LAST_DAY, ended_at=LAST_DAY), made_at=MADE)))
    with pytest.raises(OverflowError):
        files_of(far)
    told = watching.turn(MADE - STEP, lambda: Seen(far, WELL))  # the first of all looks
    assert (state(told, "portal"), watching.last) == ("late", None)
    watching.turn(MADE, lambda: well(MADE))
    for number in (1, 2, 3):
        told = watching.turn(MADE + number * STEP, lambda: Seen(far, WELL))
    assert (state(told, "portal"), told.unreachable_since, watching.fails) == ("late", None, 0)
    assert told.accesses == rich_told().accesses
    assert b"its feed cannot be read" in watching.files["index.html"]
    portal = next(each for each in told.components if each.key == "portal")
    assert portal.days[-1].measured_s == pytest.approx(120)


def test_a_portal_takes_no_name_of_the_watchers_own_outages_and_no_address_but_the_one_that_is_watched(watching: Watcher) -> None:
    for number in range(2):
        watching.turn(MADE + number * STEP, lambda: NOBODY)
    own = watching.turn(MADE + 2 * STEP, lambda: NOBODY).incidents[0].ref
    back = MADE + 3 * STEP
    stolen = replace(rich_told(), made_at=back, incidents=(replace(rich_told().incidents[0], ref=own, title="Nothing happened"),))
    told = watching.turn(back, lambda: Seen(replace(stolen, address="https://evil.example"), WELL))
    assert [(each.ref, each.title) for each in told.incidents] == [(own, "The portal could not be reached")]
    assert (told.address, state(told, "portal")) == ("http://127.0.0.1:1", "ok")
    assert b"evil.example" not in watching.files["index.html"]


@pytest.mark.parametrize("kept", [b"{}", b"\xff", encode(rich_told()).replace(b'"how"', b'"when"'), b"[" * 250_000])
def test_a_feed_that_was_kept_and_cannot_be_read_is_not_used_with_a_warning(
    tmp_path: Path, kept: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.feed").write_bytes(kept)
    again = watcher(tmp_path)
    assert again.last is None
    assert "cannot be read" in caplog.text
    assert state(again.turn(MADE, lambda: well(MADE)), "portal") == "ok"


def test_a_kept_feed_of_which_no_pages_can_be_made_any_more_is_dropped(watching: Watcher) -> None:
    watching.last = odd(started_at=LAST_DAY, ended_at=LAST_DAY)
    assert state(watching.turn(MADE, lambda: NOBODY), "portal") == "late"
    assert watching.last is None


class Portal(BaseHTTPRequestHandler):
    """A portal whose feed is fine, and whose health nobody can read."""

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        said = {f"/{ITSELF}": encode(rich_told()), "/healthz": b"[" * 250_000}.get(self.path)
        self.send_response(200 if said else 404)
        self.end_headers()
        if said:
            self.wfile.write(said)


@pytest.fixture
def portal() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_the_portal_says_of_its_health_is_read_or_left_alone(tmp_path: Path, portal: str) -> None:
    seen = watcher(tmp_path, portal).look()
    assert (seen.told, seen.health) == (rich_told(), None)


def test_a_log_that_comes_in_drops_holds_no_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "COPY_S", 0.1)
    monkeypatch.setattr(watching_module, "_READ_S", 0.5)
    with raw_server(drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000, 0.02)) as server:
        made = watcher(tmp_path, f"http://127.0.0.1:{server.port}")
        monkeypatch.setattr(Watcher, "_reasons", lambda _self: b"")
        began = time.monotonic()
        assert not made.copy()
        first = made._copying
        assert not made.copy()
        assert made._copying is first  # it is not begun twice
        assert time.monotonic() - began < 0.5
        assert first is not None
        first.join(2)
        assert "takes longer than" in made.mirrored
    assert state(made.turn(MADE, lambda: well(MADE)), "log") == "down"
