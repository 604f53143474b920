"""`./keychest access` and `./keychest shell`: hosts, what they report by hand, reasons, and who was on the store."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from cli import main, place, words
from cli.shell import is_gone, process
from cli.status_keeper import made
from core.store.access import Access
from core.store.accounts import User
from core.store.db import Sessions, make_engine
from tests.conftest import ROOT
from tests.hosts import TestHost
from tests.people import person
from tests.processes import eventually

Say = pytest.CaptureFixture[str]
WHY = "The relay's queue is stuck"


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setenv("KEYCHEST_DATA", str(tmp_path / "data"))
    assert main.main(["db", "upgrade"]) == 0
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'keychest.db'}")
    yield Sessions(engine)
    engine.dispose()


def listed(capsys: Say) -> dict[str, Any]:
    capsys.readouterr()
    assert main.main(["access", "list", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.slow
def test_a_host_is_trusted_reports_by_hand_and_is_retired(sessions: Sessions, tmp_path: Path, capsys: Say) -> None:
    host = TestHost(tmp_path)
    assert main.main(["access", "trust", "web-1", host.public_key]) == 0
    assert main.main(["access", "trust", "web-1", host.public_key]) == words.USAGE
    assert "Retire it first" in capsys.readouterr().err
    now = datetime.now(UTC)
    (tmp_path / "lines").write_text(json.dumps(host.delivery(now, [host.opened(now, "s1", user="\x1b[31mroot")], still=["s1"])) + "\n\n")
    assert main.main(["access", "record", str(tmp_path / "lines")]) == words.USAGE  # a control character is no name
    host = TestHost(tmp_path)
    (tmp_path / "lines").write_text(json.dumps(host.delivery(now, [host.opened(now, "s1")], still=["s1"])) + "\n\n")
    assert main.main(["access", "record", str(tmp_path / "lines")]) == 0
    assert "number 2 is wanted next" in capsys.readouterr().out
    (line,) = listed(capsys)["accesses"]
    assert (line["host"], line["person"], line["ended_at"], line["reason"]) == ("web-1", "root", None, "")
    assert main.main(["access", "reason", line["ref"], "short"]) == words.USAGE
    assert main.main(["access", "reason", "nothing", WHY]) == words.USAGE
    assert main.main(["access", "reason", line["ref"], WHY]) == 0
    assert main.main(["access", "list"]) == 0
    shown = capsys.readouterr().out
    assert line["ref"] in shown
    assert all(word in shown for word in WHY.split())
    assert main.main(["access", "retire", "web-1"]) == 0
    told = listed(capsys)
    assert (told["hosts"], told["accesses"][0]["ending"]) == ([], "lost")


@pytest.mark.slow
@pytest.mark.parametrize("line", ["{}", "[]", "no JSON", '{"host": "web-9", "beat": {}, "reports": []}'])
def test_a_line_that_is_no_delivery_is_answered_in_words(sessions: Sessions, tmp_path: Path, capsys: Say, line: str) -> None:
    (tmp_path / "lines").write_text(line)
    assert main.main(["access", "record", str(tmp_path / "lines")]) == words.USAGE
    assert "was taken" in capsys.readouterr().err


def shelled(monkeypatch: pytest.MonkeyPatch, text: str, *words_given: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return main.main(["shell", "--reason", WHY, *words_given])


@pytest.mark.slow
def test_a_shell_reads_and_does_not_write_unless_asked_and_both_are_told(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, capsys: Say
) -> None:
    with sessions.writing() as session:
        person(session, "mira@example.org")
    change = "session.execute(sa.update(User).values(email='changed@example.org'))\nsession.commit()\n"
    assert shelled(monkeypatch, f"print('found', session.scalar(sa.select(User.email)))\n{change}") == 0
    said = capsys.readouterr()
    assert "found mira@example.org" in said.out
    assert "readonly database" in said.err
    with sessions.reading() as session:
        assert session.scalar(sa.select(User.email)) == "mira@example.org"
    assert shelled(monkeypatch, change, "--write") == 0
    with sessions.reading() as session:
        assert session.scalar(sa.select(User.email)) == "changed@example.org"
        events = session.scalars(sa.select(OutboxEvent).where(OutboxEvent.kind.startswith("access.")).order_by(OutboxEvent.id)).all()
    assert [(each.kind, each.public.get("writing")) for each in events] == [
        ("access.opened.v1", False),
        ("access.closed.v1", None),
        ("access.opened.v1", True),
        ("access.closed.v1", None),
    ]
    first, second = listed(capsys)["accesses"]
    assert {first["reason"], second["reason"]} == {WHY}
    assert (first["kind"], first["ending"]) == ("database", "closed")


@pytest.mark.slow
def test_without_a_reason_no_shell_opens(sessions: Sessions, monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("print('in')\n"))
    assert main.main(["shell", "--reason", "because"]) == words.USAGE
    said = capsys.readouterr()
    assert "in 10 to 300 plain characters" in said.err
    assert "in\n" not in said.out
    assert listed(capsys)["accesses"] == []


@pytest.mark.slow
def test_a_shell_that_is_killed_is_told_as_lost(sessions: Sessions, tmp_path: Path, capsys: Say) -> None:
    command = (sys.executable, "-m", "cli", "shell", "--reason", WHY)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as running:

        def is_open() -> bool:
            with sessions.reading() as session:
                return session.scalar(sa.select(Access.ended_at.is_(None))) is True

        eventually(is_open)
        feed = made(place.settings())
        feed.turn(datetime.now(UTC))
        assert is_open()
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    feed.turn(datetime.now(UTC) + timedelta(seconds=1))
    feed.sessions.engine.dispose()
    (line,) = listed(capsys)["accesses"]
    assert line["ending"] == "lost"


def test_only_a_process_of_this_machine_and_namespace_is_told_as_gone() -> None:
    mine = process(os.getpid())
    machine, boot, namespace, pid, began = mine.split(":")
    assert not is_gone(f"shell:{mine}")
    assert is_gone(f"shell:{machine}:{boot}:{namespace}:{pid}:{int(began) + 1}")
    assert is_gone(f"shell:{machine}:00000000:{namespace}:{pid}:{began}")  # before the machine was started again
    for other in ("", f"other:{boot}:{namespace}:1:1", f"{machine}:{boot}:1:{pid}:1", "x:y", f"{machine}:{boot}:{namespace}:x:1"):
        assert not is_gone(f"shell:{other}"), other
