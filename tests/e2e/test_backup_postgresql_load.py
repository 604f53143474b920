"""PostgreSQL under load from a real portal and its workers: backup and drill go on beside them, and what was acknowledged is in it."""

from __future__ import annotations

import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.actions.backups import ask_backup, stored_of
from core.actions.policy import Actor
from core.backups.restore import Log, restore
from core.store.backups import Backup, backups
from core.store.db import Sessions, make_engine
from core.store.endpoints import Schedule
from tests import pgbackrest
from tests.backups import Yard
from tests.pgbackrest import Cluster, running_cluster
from tests.processes import eventually
from tests.stage import OWNER, Installation, installation, settings_for, street

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("pgbackrest-load")]
PASSWORD = "four words of the tests"
PEOPLE, A_TIME = 2, 5


@dataclass(slots=True)
class Person:
    """Somebody signed in, by the pages alone."""

    url: str
    opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    )

    def send(self, path: str, **fields: str) -> str:
        """Fill in the form on a page, press its button, and give what comes."""
        with self.opener.open(f"{self.url}{path}", timeout=30) as page:
            token = re.findall(r'name="csrf_token" value="([^"]+)"', page.read().decode())[0]
        content = urllib.parse.urlencode({"csrf_token": token, **fields}).encode()
        with self.opener.open(f"{self.url}{path}", content, timeout=30) as answer:
            text: str = answer.read().decode()
        return text


@dataclass(slots=True)
class Diary:
    """Names that the portal acknowledged, each with the time at which its answer was here; and answers that said something else."""

    acknowledged: list[tuple[str, datetime]] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)


@contextmanager
def adding(running: Installation, port: int) -> Iterator[Diary]:
    """People who add names of a real server by the form, one list after the other, each of them signed in."""
    diary, enough = Diary(), threading.Event()

    def add(number: int) -> None:
        person, lists = Person(running.url), 0
        person.send("/sign-in", email=OWNER, password=PASSWORD, next="/")
        while not enough.is_set():
            lists += 1
            names = [f"p{number}-{lists}-{each}.kc.test" for each in range(A_TIME)]
            answer = person.send("/domains", names="\n".join(f"{name}:{port}" for name in names))
            if f"{A_TIME} added" in answer:
                diary.acknowledged += [(name, datetime.now(UTC)) for name in names]
            else:
                diary.otherwise.append(answer)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(PEOPLE)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: diary.acknowledged)
        yield diary
    finally:
        enough.set()
        for thread in threads:
            thread.join(60)


def test_portal_and_workers_go_on_and_what_they_acknowledged_is_in_it(tmp_path: Path) -> None:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    targets = [(tmp_path / name).as_uri() for name in ("first", "second")]
    with street() as servers, running_cluster() as cluster:
        more = {
            "DATABASE_URL": cluster.url(), "KEYCHEST_ENVIRONMENT": "development", "KEYCHEST_PGBACKREST_CONFIG": str(cluster.config),
            "KEYCHEST_PGBACKREST_STANZA": pgbackrest.STANZA, "KEYCHEST_BACKUP_TARGETS": ",".join(targets),
        }  # fmt: skip
        sessions = Sessions(make_engine(cluster.url()))
        with installation(tmp_path / "data", settings_for(servers, tmp_path, **more)) as running:
            running.await_health()
            Person(running.url).send(running.setup_path, email=OWNER, password=PASSWORD)
            eventually(lambda: len(proven(sessions)) == 1, within_s=60)
            with adding(running, servers.ports["good"]) as diary:
                before, scanned = len(diary.acknowledged), scans(sessions)
                with sessions.writing() as session:
                    ask_backup(session, Actor(terminal=True), now=datetime.now(UTC))
                newest = eventually(lambda: len(proven(sessions)) == 2 and proven(sessions)[0], within_s=90)
                assert isinstance(newest, Backup)
                assert newest.at is not None
                assert newest.ended_at is not None
                ended_at = newest.ended_at
                assert len(diary.acknowledged) > before  # people went on while it ran
                assert scans(sessions) > scanned
                eventually(lambda: diary.acknowledged[-1][1] > ended_at)
            assert diary.otherwise == []
        assert (newest.fidelity, newest.restorable) == (100.0, True)
        owed = {name for name, at in diary.acknowledged if at <= newest.at}
        later = {name for name, at in diary.acknowledged if at > ended_at}
        held = names_in(cluster, newest, tmp_path, targets)
        assert owed
        assert later
        assert owed - held == set()
        assert later & held == set()
        sessions.engine.dispose()


def proven(sessions: Sessions) -> list[Backup]:
    with sessions.reading() as session:
        return [backup for backup in backups(session) if backup.restorable]


def scans(sessions: Sessions) -> int:
    with sessions.reading() as session:
        return session.scalar(sa.select(sa.func.sum(Schedule.scans))) or 0


def names_in(cluster: Cluster, backup: Backup, folder: Path, targets: list[str]) -> set[str]:
    """The names that a restored cluster watches."""
    plan = Yard(Sessions(make_engine(cluster.url())), folder, urls=targets, pgbackrest_config=str(cluster.config)).plan
    stored, scratch, names = stored_of(backup), folder / "restoring", set[str]()
    scratch.mkdir()

    def look(url: str) -> None:
        engine = make_engine(url)
        with engine.connect() as connection:
            names.update(connection.scalars(sa.text("SELECT name FROM watches")))
        engine.dispose()

    restore(
        plan.engine(), stored, plan.targets(), [], cluster.folder / "restored", manifest=stored.manifest, scratch=scratch,
        log=Log(lambda: 0.0, lambda _step: None), look=look,
    )  # fmt: skip
    return names
