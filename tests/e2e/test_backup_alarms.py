"""Operators are told by mail when a backup is not what it should be and when that is over, once each; a clock a day off eats nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.tables import OutboxEvent
from core.actions.accounts import create_user
from core.store.db import Sessions, make_engine
from jobs.backup import back_up
from jobs.drill import drill
from jobs.look import look
from tests.backups import Yard, flip
from tests.make import TERMINAL
from tests.once import run_once, together
from tests.postgres import free_port
from tests.stage import Sink, smtp_sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
OPERATORS = ("ada@example.org", "grace@example.org")
NOT_PROVEN = "Backups: The newest drill did not prove its backup."
SILENT = "Backups: A drill was due and did not run."
DAY = timedelta(days=1)


@pytest.fixture
def yard(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Yard]:
    """In real time, with two operators and others who are none."""
    shutil.copy(migrated_sqlite, tmp_path / "keychest.db")
    yard = Yard(Sessions(make_engine(f"sqlite:///{tmp_path / 'keychest.db'}")), tmp_path, datetime.now(UTC))
    yard.add_accounts(2)
    with yard.sessions.writing() as session:
        for email in OPERATORS:
            create_user(session, TERMINAL, email=email, operator=True, now=yard.at - 3 * DAY)
    yield yard
    yard.sessions.engine.dispose()


def test_each_operator_is_told_once_as_it_opens_and_once_as_it_is_over(yard: Yard) -> None:
    with smtp_sink() as sink:
        yard.smtp_url = sink.url
        yard.back_up()
        yard.drill()
        run_once(yard, "look", "now")
        assert sink.mails == []
        spoil(yard)
        together(yard, "look", "now", times=3)
        run_once(yard, "look", "now")
        assert told(sink) == {(email, NOT_PROVEN): 1 for email in OPERATORS}
        assert any("damaged" in str(mail.get_content()) for _, mail in sink.mails)
        yard.at = datetime.now(UTC)
        yard.back_up()
        assert yard.drill().state == "passed"
        together(yard, "look", "now", times=3)
        run_once(yard, "look", "now")
        assert told(sink) == {(email, subject): 1 for email in OPERATORS for subject in (NOT_PROVEN, over(NOT_PROVEN))}


@pytest.mark.parametrize("answers", [False, True], ids=["away", "it says later"])
def test_a_mail_that_nobody_takes_is_tried_again_and_not_lost(yard: Yard, monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    async def later(*_: object) -> str:
        return "451 later"

    port = free_port()
    yard.smtp_url = f"smtp://127.0.0.1:{port}"
    spoil(yard)
    with monkeypatch.context() as patch, smtp_sink(port) if answers else nullcontext():
        patch.setattr(Sink, "handle_DATA", later)
        for wait in (0, 1, 2):  # minutes: later and later
            yard.pass_time(timedelta(minutes=wait))
            look(yard.context, "now")
            look(yard.context, "now")
    asked = "SELECT attempts, sent_at FROM alarm_mails JOIN alarms ON alarms.id = alarm_id WHERE kind = 'drill-failed'"
    with yard.sessions.reading() as session:
        assert session.execute(sa.text(asked)).all() == [(3, None)] * len(OPERATORS)
    with smtp_sink(port) as sink:
        look(yard.context, "now")
        assert sink.mails == []  # not due yet
        yard.pass_time(timedelta(minutes=4))
        for _ in range(3):
            look(yard.context, "now")
            yard.pass_time(timedelta(minutes=10))
        assert told(sink) == {(email, NOT_PROVEN): 1 for email in OPERATORS}


def test_silence_is_told(yard: Yard) -> None:
    with smtp_sink() as sink:
        yard.smtp_url = sink.url
        yard.back_up()
        yard.drill()
        yard.pass_time(yard.plan.interval + timedelta(hours=2))
        look(yard.context, "now")
        assert sink.mails == []
        yard.pass_time(timedelta(minutes=1))
        for _ in range(3):
            look(yard.context, "now")
        assert {key: count for key, count in told(sink).items() if key[1] == SILENT} == {(email, SILENT): 1 for email in OPERATORS}
        back_up(yard.context)
        drill(yard.context)
        for _ in range(3):
            look(yard.context, "now")
        for email in OPERATORS:
            assert (told(sink)[email, SILENT], told(sink)[email, over(SILENT)]) == (1, 1)


def test_a_backup_that_no_drill_looks_at_is_told_within_hours(yard: Yard) -> None:
    with smtp_sink() as sink:
        yard.smtp_url = sink.url
        yard.back_up()
        yard.pass_time(timedelta(hours=1, minutes=1))
        look(yard.context, "now")
        assert told(sink) == {(email, SILENT): 1 for email in OPERATORS}


@pytest.mark.parametrize(
    ("off", "left"),
    [
        (DAY, 5),
        # Two then carry one date, and once the clock is right the newer of them stands for that day.
        (-DAY, 4),
    ],
    ids=["ahead", "behind"],
)
def test_a_clock_that_is_a_day_off_for_a_whole_run_eats_nothing(yard: Yard, off: timedelta, left: int) -> None:
    yard.keep = "hourly=0,daily=4,weekly=0,monthly=0"
    for _ in range(3):
        round_of(yard)
        yard.pass_time(DAY)
    yard.add_accounts(1, at=yard.at)  # people go on until the clock jumps
    yard.pass_time(off)
    round_of(yard)
    assert len(yard.stored()) == 4
    yard.pass_time(timedelta(minutes=5) - off)
    round_of(yard)
    stored = yard.stored()
    assert len(stored) == len({backup.ref for backup in stored}) == left
    assert [backup.restorable for backup in stored] == [True] * left
    for target in ("first", "second"):
        assert len(yard.files(f"{target}/backups", ".age")) == len(yard.files(f"{target}/backups", ".json")) == left
    with yard.sessions.reading() as session:
        events = Counter(session.scalars(sa.select(OutboxEvent.kind)))
        assert (events["backup.stored.v1"], events["backup.removed.v1"]) == (5, 5 - left)
        assert list(session.scalars(sa.text("SELECT kind FROM alarms WHERE closed_at IS NULL"))) == (["clock"] if off > timedelta() else [])


def test_what_is_wrong_after_a_clock_was_ahead_is_told(yard: Yard) -> None:
    with smtp_sink() as sink:
        yard.smtp_url = sink.url
        yard.pass_time(DAY)
        round_of(yard)
        yard.pass_time(-DAY)
        spoil(yard)
        look(yard.context, "now")
        assert told(sink)[OPERATORS[0], NOT_PROVEN] == 1


def round_of(yard: Yard) -> None:
    """What a day brings."""
    made = yard.back_up()
    drill(yard.context)
    assert yard.known(made.ref).restorable is True
    look(yard.context, "now")


def spoil(yard: Yard) -> None:
    """A backup that changes where it is kept, and the drill that finds it."""
    backup = yard.back_up()
    for target in ("first", "second"):
        flip(yard.sealed(backup, target), 1_000)
    drill(yard.context)
    assert yard.known(backup.ref).restorable is False


def over(subject: str) -> str:
    return subject.replace("Backups", "Over")


def told(sink: Sink) -> Counter[tuple[str, str]]:
    """How often each recipient got each subject, but for shares of accounts, which are told beside what is not proven."""
    found = Counter((recipient, str(mail["Subject"]).strip()) for recipient, mail in sink.mails)
    return Counter({key: count for key, count in found.items() if "interval" not in key[1]})
