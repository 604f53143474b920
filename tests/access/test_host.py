"""A host of production with a real sshd: who comes and goes is told, whatever becomes of clients, processes, disk, clock and portal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.access.kernel import pid_of
from core.access.said import say
from tests.disk import disk
from tests.recorded_host import PAM, USER, RecordedHost, need_host, recorded_host

pytestmark = pytest.mark.xdist_group("recorded host")


@pytest.fixture
def host() -> Iterator[RecordedHost]:
    need_host()
    with recorded_host() as found:
        yield found


@pytest.mark.slow
def test_ssh_and_sftp_are_told_from_beginning_to_end_with_who_from_where_and_why(host: RecordedHost) -> None:
    with host.portal.listening():
        host.ssh("true")
        host.until("opened ssh", "closed")
        host.sftp(USER)
        host.heard(5)
        assert sorted(host.portal.whats()[2:]) == ["closed", "completed sftp", "opened ssh"]
        host.sftp()
        host.heard(8)
        assert sorted(host.portal.whats()[5:]) == ["closed", "completed sftp", "opened ssh"]
        first, _, walker = host.portal.reports[:3]
        completed = next(each for each in host.portal.reports if each.what == "completed")
        assert (first.user, first.role, first.origin, first.kind) == ("root", "administrator", "127.0.0.1", "ssh")
        assert (walker.user, walker.role) == (USER, "user")
        assert completed.session == walker.session != first.session
        assert host.portal.beats[-1].open == ()
        assert (host.portal.doubled, host.spooled) == (0, [])


@pytest.mark.slow
def test_a_reason_is_told_as_the_shell_starts_and_only_of_ones_own_session(host: RecordedHost) -> None:
    with host.portal.listening():
        host.ssh("true", USER, "disk of db-1\x1b[2J is full \N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 400)
        until = time.monotonic() + 10
        while "reason" not in host.portal.whats() and time.monotonic() < until:
            host.turn()
        reason = next(each for each in host.portal.reports if each.what == "reason")
        opened = next(each for each in host.portal.reports if each.what == "opened")
        assert reason.session == opened.session
        assert reason.reason.startswith("disk of db-1[2J is full x")
        assert len(reason.reason) == 300
        client = host.begin()
        host.turn()
        say(host.settings["socket"], "said by a process of no session")
        host.turn()
        assert [each.what for each in host.portal.reports].count("reason") == 1
        client.kill()
        client.wait()


@pytest.mark.slow
def test_a_killed_client_and_a_killed_sshd_end_their_sessions(host: RecordedHost) -> None:
    with host.portal.listening():
        client = host.begin(USER)
        host.until("opened ssh")
        session = host.portal.reports[0].session
        assert host.portal.beats[-1].open == (session,)
        client.kill()
        client.wait()
        host.until("opened ssh", "closed")
        other = host.begin()
        host.until("opened ssh", "closed", "opened ssh")
        os.kill(pid_of(host.portal.reports[2].session), signal.SIGKILL)
        other.wait()
        host.until("opened ssh", "closed", "opened ssh", "closed")
        assert host.portal.reports[3].session == host.portal.reports[2].session


@pytest.mark.slow
def test_while_the_portal_is_away_nothing_is_lost_doubled_or_out_of_order(host: RecordedHost) -> None:
    for _ in range(3):
        host.ssh("true")
    asked = 0
    for _ in range(60):  # an hour, minute by minute
        before = host.recorder._not_before
        host.turn(60)
        asked += host.recorder._not_before != before
    assert 50 <= asked <= 60
    assert host.spooled == ["opened", "closed"] * 3
    waited = set()
    for _ in range(30):
        host.turn()
        waited.add(host.recorder._not_before)
    assert len(waited) <= 2  # asked once at most
    host.again()  # and the recorder was killed meanwhile
    with host.portal.listening() as portal:
        portal.lose = 1
        host.turn(61)
        host.until(*["opened ssh", "closed"] * 3)
        assert [each.number for each in portal.reports] == [1, 2, 3, 4, 5, 6]
        assert portal.doubled == 0
        del portal.reports[2:], portal.texts[2:]  # it comes back as it was a while ago
        host.turn(61)
        host.until(*["opened ssh", "closed"] * 3)
        assert portal.doubled == 0


@pytest.mark.slow
def test_an_answer_that_gets_lost_doubles_nothing(host: RecordedHost) -> None:
    with host.portal.listening() as portal:
        host.turn()
        host.ssh("true")
        portal.lose = 1
        host.turn()
        assert portal.whats() == ["opened ssh", "closed"]
        host.turn(5)
        host.ssh("true")
        host.until(*["opened ssh", "closed"] * 2)
        assert portal.doubled == 0


@pytest.mark.slow
def test_a_full_disk_keeps_nobody_out_and_what_found_no_room_is_told_as_lost(tmp_path: Path) -> None:
    need_host()
    with disk(tmp_path / "state", 4_000_000) as small, recorded_host(small.path) as host:
        small.fill()
        for _ in range(28):
            host.recorder.spool.add(0, "closed", session="a" * 16)
        for _ in range(3):  # that makes 34 reports: two more than the reserve holds
            began = time.monotonic()
            assert host.ssh("echo in").stdout == "in\n"
            assert time.monotonic() - began < 6
        host.recorder.observe()
        assert len(host.spooled) == 32
        with host.portal.listening() as portal:
            until = time.monotonic() + 20
            while len(portal.reports) < 34 and time.monotonic() < until:
                host.turn()
            told = [*["closed"] * 28, *["opened ssh", "closed"] * 2, "lost", "lost"]
            assert portal.whats() == told
            host.ssh("true")  # what was delivered made room for it
            told += ["opened ssh", "closed"]
            host.until(*told)
            small.resize(8_000_000)
            host.ssh("true")
            host.until(*told, "opened ssh", "closed")


@pytest.mark.slow
def test_a_wrong_clock_changes_neither_order_nor_what_is_kept(host: RecordedHost) -> None:
    with host.portal.listening() as portal:
        for wall in (0.0, 9e12, 1_795_000_000.0):
            host.times.wall = wall
            host.recorder.spool.add(wall, "reason", session="a" * 16, reason="clock")
            host.turn()
        assert [each.number for each in portal.reports] == [1, 2, 3]
        assert [each.at.year for each in portal.reports] == [2000, 2199, 2026]  # each is read as the nearest that the portal takes
        for _ in range(3):
            host.turn(61)
        assert sorted(host.recorder.spool.sent) == [1, 2, 3]


@pytest.mark.slow
def test_what_pam_starts_returns_in_time_when_the_disk_hangs_and_the_report_comes_later(host: RecordedHost) -> None:
    with host.recorder.spool.locked():  # as a disk that does not answer
        began = time.monotonic()
        words = [str(host.host.program), "pam"]
        subprocess.run(words, env={"PAM_TYPE": "open_session", "PAM_USER": "root"}, check=True, timeout=10)
        assert 1 < time.monotonic() - began < 3
        assert host.spooled == []
    until = time.monotonic() + 10
    while not host.spooled and time.monotonic() < until:
        time.sleep(0.02)
    assert host.spooled == ["opened"]


@pytest.mark.slow
def test_forged_and_replayed_reports_are_not_taken(host: RecordedHost, tmp_path: Path) -> None:
    with host.portal.listening() as portal:
        host.ssh("true")
        host.until("opened ssh", "closed")
        courier = host.recorder.courier
        beat = host.recorder._beat(2, 2)
        good: dict[str, Any] = {"host": "web-1", "beat": courier.signed(beat), "reports": [courier.signed(text) for text in portal.texts]}
        changed = json.loads(json.dumps(good))
        changed["reports"][0]["text"] = changed["reports"][0]["text"].replace('"root"', '"mallory"')
        assert portal.take("/access/reports", changed)[0] == 403
        assert portal.take("/access/reports", good) == (200, {"next": 3})
        assert portal.take("/access/reports", good)[0] == 409  # the same heartbeat again
        assert portal.whats() == ["opened ssh", "closed"]
        signature = tmp_path / "signature"
        signature.write_text(good["reports"][0]["signature"])
        (tmp_path / "signers").write_text(f"web-1 {portal.public_key}\n")
        words = ("ssh-keygen", "-Y", "verify", "-f", tmp_path / "signers", "-I", "web-1", "-n", "keychest-access", "-s", signature)
        assert subprocess.run(words, input=portal.texts[0].encode(), check=False, capture_output=True).returncode == 0
        assert subprocess.run(words, input=b"another text", check=False, capture_output=True).returncode != 0


@pytest.mark.slow
def test_a_disk_that_was_put_back_goes_on_with_new_numbers(host: RecordedHost) -> None:
    with host.portal.listening() as portal:
        spool = host.recorder.spool
        spool.next_beat(least=5_000)
        host.ssh("true")
        host.until("opened ssh", "closed")
        spool.number.write("0")
        spool.beats.write("1 0 0")
        for path in (spool.folder / "sent").glob("*/*.json"):
            path.unlink()
        host.again()
        host.ssh("true")
        host.until(*["opened ssh", "closed"] * 2)
        assert [each.number for each in portal.reports] == [1, 2, 3, 4]
        assert portal.reports[2].session != portal.reports[0].session


@pytest.mark.slow
def test_it_runs_by_itself_and_ends_when_it_is_told_to(host: RecordedHost) -> None:
    running = subprocess.Popen([str(host.host.program), "run"], stderr=subprocess.PIPE)
    try:
        with host.portal.listening() as portal:
            host.ssh("true", reason="by itself")
            until = time.monotonic() + 15
            while len(portal.reports) < 3 and time.monotonic() < until:
                time.sleep(0.05)
            assert sorted(each.what for each in portal.reports) == ["closed", "opened", "reason"]
    finally:
        running.terminate()
        assert running.wait(10) == 0
        assert running.stderr is not None
        running.stderr.close()


@pytest.mark.slow
def test_where_pam_hands_on_variables_of_the_users_the_recorder_sees_the_end_itself() -> None:
    need_host()
    with recorded_host(pam=f"{PAM}session required pam_env.so user_readenv=1\n") as host, host.portal.listening():
        client = host.begin(USER)
        host.until("opened ssh")
        client.kill()
        client.wait()
        host.until("opened ssh", "closed")
        assert "type=open_session" in (host.folder / "etc/pam.d/sshd").read_text()
