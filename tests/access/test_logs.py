"""What sshd's and PostgreSQL's logs add: read once, over rotations and restarts, and believed only where it fits."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from core.access.kernel import boot_id, session_name, started
from core.access.sessions import MOST_OPEN, Sessions
from core.access.tails import FileTail, JournalTail, SshdTail
from core.access.texts import FORM, report, spelled
from tests.postgres import folder_of_its_own, programs, running_postgres
from tests.processes import eventually

BOOT = boot_id()
SSHD = os.getpid()  # a process that lives
SESSION = session_name(BOOT, SSHD, started(SSHD) or 0)
SFTP = "Starting session: subsystem 'sftp' for root from 192.0.2.7 port 5 id 0"
SHELL = "Starting session: shell on pts/0 for root from 192.0.2.7 port 5 id 1"


class Kept:
    """What was reported."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions, self.told = sessions, list[tuple[str, dict[str, str]]]()

    def __call__(self, what: str, **fields: str) -> int:
        self.told.append((what, fields))
        self.sessions.learn(report("web-1", len(self.told), "2026-11-29T00:00:00.000Z", what, fields))
        return len(self.told)


@pytest.fixture
def kept() -> Kept:
    sessions = Sessions(BOOT, ("postgres",))
    kept = Kept(sessions)
    kept("opened", session=SESSION, kind="ssh", role="administrator", user="root", **{"from": "192.0.2.7"})
    return kept


def kinds(kept: Kept) -> list[str]:
    return [fields["kind"] for what, fields in kept.told if what == "completed"]


def test_files_alone_are_sftp_and_a_shell_beside_them_is_told(kept: Kept) -> None:
    for _ in range(2):
        assert kept.sessions.of_sshd(SSHD, SFTP, kept)
    assert kinds(kept) == ["sftp"]
    assert kept.sessions.of_sshd(SSHD, SHELL, kept)
    assert kept.sessions.of_sshd(SSHD, "subsystem request for sftp by user root", kept)
    assert kinds(kept) == ["sftp", "ssh"]


def test_a_log_makes_no_less_of_a_session_that_was_told_before_a_restart(kept: Kept) -> None:
    kept.sessions.settle()
    assert kept.sessions.of_sshd(SSHD, SFTP, kept)
    assert kinds(kept) == []


def test_a_line_counts_only_for_its_own_session_also_after_its_end(kept: Kept) -> None:
    assert not kept.sessions.of_sshd(4_000_000, SFTP, kept)
    for command in ("internal-sftpx; bash", "bash; internal-sftp"):
        words = f"Starting session: forced-command (key-option) '{command}' for root from 192.0.2.7 port 5 id 0"
        assert kept.sessions.of_sshd(SSHD, words, kept)
    assert kept.sessions.of_sshd(SSHD, "User child is on pid 4000000", kept)
    assert kinds(kept) == []
    kept("closed", session=SESSION)
    other = session_name(BOOT, 3_999_999, 7)
    kept("opened", session=other, kind="ssh", role="user", user="x", **{"from": ""})
    assert kept.sessions.of_sshd(3_999_999, "User child is on pid 4000001", kept)
    kept("closed", session=other)
    forced = "Starting session: forced-command (config) 'internal-sftp -R' for x from 192.0.2.7 port 5 id 0"
    assert kept.sessions.of_sshd(4_000_001, forced, kept)
    assert kept.told[-1] == ("completed", {"session": other, "kind": "sftp"})


def test_sessions_of_another_boot_or_another_process_are_dead() -> None:
    sessions = Sessions(BOOT)
    kept = Kept(sessions)
    gone = [session_name("ffffffff" if BOOT[0] != "f" else "00000000", SSHD, started(SSHD) or 0), session_name(BOOT, SSHD, 5)]
    for name in (*gone, SESSION):
        kept("opened", session=name, kind="ssh", role="user", user="x", **{"from": ""})
    assert sessions.dead() == gone


def test_two_hundred_sessions_have_room_in_one_heartbeat() -> None:
    sessions = Sessions(BOOT)
    kept = Kept(sessions)
    for number in range(MOST_OPEN + 1):
        kept("opened", session=session_name(BOOT, 4_194_304, 2_000_000_000 + number), kind="ssh", role="user", user="x", **{"from": ""})
    at = "2026-11-29T00:00:00.000Z"
    told = {"form": FORM, "host": "h" * 64, "beat": 10**9, "at": at, "last": 10**9, "boot": BOOT, "open": sessions.named()}
    assert len(sessions.named()) == MOST_OPEN
    assert len(spelled(told)) <= 4_096


def test_a_log_is_read_once_over_rotations_cuts_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    path.write_text("before\n")
    tail = FileTail(path, "")
    assert tail.lines() == []  # it begins at the end
    with path.open("a") as file:
        file.write("one\nhal")
    assert tail.lines() == ["one"]
    with path.open("a") as file:
        file.write("f\nlast of the old\n")
    place = tail.place
    path.rename(tmp_path / "auth.log.1")
    path.write_text("first of the new\n")
    tail.close()
    tail = FileTail(path, place)  # killed and started again meanwhile
    assert tail.lines() == ["half", "last of the old"]
    assert tail.lines() == ["first of the new"]
    path.write_text("cut\n")
    assert tail.lines() == ["cut"]
    path.unlink()
    assert tail.lines() == []
    tail.close()


def test_lines_of_others_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    path.touch()
    tail = SshdTail(path, "", "sshd")
    assert tail.told() == []
    old, new, other = (
        "Nov 29 01:08:34 host sshd[7]: a",
        "2026-11-29T01:08:34.1+00:00 host sshd-session[8]: b",
        "Nov 29 01:08:34 host su[9]: sshd[1]: c",
    )
    path.write_text(f"{old}\n{new}\n{other}\n")
    assert tail.told() == [(7, "a"), (8, "b")]
    tail.close()


def test_the_journal_tells_the_process_that_the_kernel_saw() -> None:
    tail = JournalTail("", ("sshd",))
    tail._reading = type("Alive", (), {"is_alive": lambda self: True})()  # no journal is here to be read
    for line in (
        {"__CURSOR": "s=1", "_PID": "7", "SYSLOG_PID": "1", "MESSAGE": "a"},
        {"__CURSOR": "s=2", "_PID": "8", "MESSAGE": [1, 2]},
        5,
    ):
        tail._lines.put(json.dumps(line).encode())
    assert tail.told()[0] == (7, "a")
    assert tail.place == "s=2"


@pytest.mark.slow
def test_superusers_of_a_real_postgresql_are_told_and_nobody_else() -> None:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    settings = ("log_connections=on", "log_disconnections=on", "log_line_prefix=%m [%p] ")
    with folder_of_its_own() as folder, closing(FileTail(folder / "server.log", "")) as tail:
        (folder / "server.log").touch()
        sessions = Sessions(BOOT, ("postgres",))
        assert tail.lines() == []
        kept = Kept(sessions)

        def read() -> list[tuple[str, str]]:
            for line in tail.lines():
                sessions.of_postgresql(line, kept)
            return [(what, fields.get("from", "")) for what, fields in kept.told]

        with running_postgres(folder / "server", settings=settings) as server:
            where = f"host=127.0.0.1 port={server.port} dbname=postgres"
            with psycopg.connect(f"{where} user=postgres", autocommit=True) as connection:
                connection.execute("CREATE ROLE clerk LOGIN")
            with psycopg.connect(f"{where} user=clerk") as clerk, pytest.raises(psycopg.Error):
                clerk.execute("SELECT 1/0 --\n2026-01-01 00:00:00.000 UTC [1] LOG:  connection authorized: user=postgres database=x")
            words = (folder / "server.log").read_text
            eventually(lambda: " user=clerk database=postgres host=127" in words())
            eventually(
                lambda: (
                    words().count("authorized: user=postgres database=postgres")
                    == words().count(" user=postgres database=postgres host=127")
                )
            )
            told = read()
            assert told == [("opened", "127.0.0.1"), ("closed", "")] * (len(told) // 2)
            opened = [fields for what, fields in kept.told if what == "opened"]
            assert {(each["kind"], each["role"], each["user"]) for each in opened} == {("database", "superuser", "postgres")}
            left = psycopg.connect(f"{where} user=postgres")
            eventually(lambda: read() != told)
            assert read() == [*told, ("opened", "127.0.0.1")]
            assert sessions.dead() == []
        left.close()
        eventually(lambda: read()[-1] == ("closed", ""))


def test_a_server_that_was_killed_has_nobody_in_it(kept: Kept) -> None:
    prefix = "2026-11-29 00:45:12.345 UTC [77] LOG:  "
    for _ in range(2):
        kept.sessions.of_postgresql(f"{prefix}connection authorized: user=postgres database=x application_name=psql", kept)
    kept.sessions.of_postgresql(f"{prefix}connection authorized: user=clerk database=x", kept)
    kept.sessions.of_postgresql("2026-11-29 00:46:12.345 UTC [70] LOG:  database system is ready to accept connections", kept)
    assert [what for what, _ in kept.told] == ["opened", "opened", "closed"]
    assert list(kept.sessions.open) == [SESSION]
