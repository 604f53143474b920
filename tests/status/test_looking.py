"""What the book of what is due says of each part: well, late or down, in plain words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.actions.letters import LetterKind, write_letter
from core.status import looking
from core.status.looking import Looked
from core.status.promises import Circumstances, promises
from core.status.told import SeenExports
from core.store.backups import Backup, Drill
from core.store.db import Sessions
from core.store.exports import Export
from core.store.workload import Waiting, Workload, mail_waits_since
from tests.make import NOW, make_actor
from tests.status.make import rich_told

CALM = Waiting(0, None)
BEATS = dict.fromkeys(("clock", "worker.scan", "worker.now", "worker.ops"), NOW)


def found(**more: Any) -> Looked:
    work = Workload(CALM, 0, 0, CALM, CALM)
    backup = Backup(at=NOW - timedelta(hours=2), began_at=NOW, targets={"a": {}})
    drill = Drill(state="passed", ref="d", fidelity=100.0, accounts_alive=5, accounts_held=5, ended_at=NOW)
    told = Looked(NOW, BEATS, work, 10, 0, backup, None, drill, "", None, None)
    return replace(told, **more)


def waiting_since(length: timedelta) -> Workload:
    return Workload(Waiting(1, NOW - length), 0, 1, CALM, CALM)


@pytest.mark.parametrize(
    ("minutes", "state"), [(14, "ok"), (16, "late"), (61, "down")],
)  # fmt: skip
def test_checks_are_late_and_then_down(minutes: int, state: str) -> None:
    told = looking.scanning(found(work=waiting_since(timedelta(minutes=minutes))), NOW - timedelta(hours=1))
    assert told.state == state
    assert (f"{minutes} min" in told.says or "1 h" in told.says) == (state != "ok")


@pytest.mark.parametrize("name", ["clock", "worker.scan", "worker.now"])
def test_who_gives_no_sign_of_life_makes_no_checks_but_not_while_all_begins(name: str) -> None:
    quiet = found(beats=BEATS | {name: NOW - timedelta(minutes=3)})
    assert looking.scanning(quiet, NOW - timedelta(hours=1)).state == "down"
    assert looking.scanning(quiet, NOW - timedelta(minutes=1)).state == "unmeasured"
    assert looking.notifications(found(beats={}), NOW - timedelta(hours=1)).state == "down"


def test_mails_about_incidents_open_no_incident(sessions: Sessions) -> None:
    with sessions.writing() as session:
        old: LetterKind = "status_told"
        young: LetterKind = "reset"
        for kind, minutes in ((old, 40), (young, 7)):
            write_letter(session, kind, email="a@example.org", lasts=timedelta(days=1), now=NOW - timedelta(minutes=minutes))
        assert mail_waits_since(session, NOW, but="status_told") == NOW - timedelta(minutes=7)
        assert looking.look(session, NOW).mail_since == NOW - timedelta(minutes=7)
        assert mail_waits_since(session, NOW, but="") == NOW - timedelta(minutes=40)
    assert looking.notifications(found(mail_since=NOW - timedelta(minutes=7)), NOW).state == "late"
    assert looking.notifications(found(mail_since=NOW - timedelta(minutes=31)), NOW).state == "down"
    assert looking.notifications(found(), NOW).state == "ok"


def test_backups_are_worth_what_the_newest_drill_says() -> None:
    day = timedelta(days=1)
    assert looking.proofs(found(), day).state == "ok"
    assert looking.proofs(found(newest=None), day).state == "unmeasured"
    assert looking.proofs(found(drill=None), day).state == "unmeasured"
    assert looking.proofs(found(drill=Drill(state="failed")), day).state == "down"
    assert looking.proofs(found(), timedelta(hours=1)).state == "late"
    seen = looking.seen_backups(found())
    assert seen is not None
    assert (seen.accounts, seen.restorable, seen.fidelity, seen.targets) == (5, 5, "100.000", 1)
    assert looking.seen_backups(found(newest=None)) is None


@pytest.mark.parametrize(
    ("more", "logged", "state"),
    [
        ({}, timedelta(minutes=5), "ok"),
        ({}, timedelta(hours=3), "down"),
        ({}, None, "unmeasured"),
        ({"log_trouble": "forked"}, timedelta(minutes=5), "down"),
        ({"log_waits_since": NOW - timedelta(minutes=11)}, timedelta(minutes=5), "late"),
    ],
)
def test_the_log_stands_as_it_is_published(more: dict[str, Any], logged: timedelta | None, state: str) -> None:
    at: datetime | None = NOW - logged if logged is not None else None
    assert looking.the_log(found(**more), at).state == state


def test_the_feed_says_how_many_exports_there_were_and_never_whose(sessions: Sessions) -> None:
    with sessions.writing() as session:
        account_id = make_actor(session).account_id
        ready: tuple[timedelta | None, ...] = (timedelta(days=31), timedelta(days=29), timedelta(hours=4), None)
        for number, ago in enumerate(ready):
            at = NOW - ago if ago is not None else None
            session.add(Export(ref=f"{number}", account_id=account_id, history="all", asked_at=NOW, ready_at=at))
        session.flush()
        seen = looking.seen_exports(looking.look(session, NOW))
        assert seen == SeenExports(2, NOW - timedelta(hours=4))
        told = rich_told()
        kept = next(each for each in promises(replace(told, exports=seen), Circumstances()) if each.key == "exports")
        assert (kept.state, kept.newest, kept.at) == ("kept", "2\u00a0exports in 30 days; the newest was made then.", seen.newest_at)
        nobody = next(each for each in promises(replace(told, exports=None), Circumstances()) if each.key == "exports")
        assert (nobody.newest, nobody.at) == ("Nobody made one in 30 days.", None)
