"""The logins on PostgreSQL as docs/runbook.md makes them: each can do its work, and none but the purge deletes what people made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, ProgrammingError

from audit.keeper import Keeper
from audit.sequencer import Sequencer
from core.actions.accounts import sign_in
from core.actions.domains import remove_watches
from core.actions.logs import forget_accounts
from core.actions.passkeys import ask_for_passkey
from core.actions.passwords import check_password, kept_of
from core.actions.policy import Actor
from core.actions.purge import Purged, purge_bin
from core.store import schema
from core.store.accounts import User
from core.store.db import Sessions, make_engine
from core.store.identities import purge_flows
from core.store.leaves import drop_unserved
from core.store.letters import purge_letters
from core.store.spot_checks import purge_spot_checks
from tests.actions.test_purge import prove
from tests.conftest import ROOT
from tests.make import NOW, make_watches
from tests.passkeys import site
from tests.people import person
from tests.postgres import Postgres

pytestmark = pytest.mark.slow
LOGINS = ("keychest_migrate", "keychest_portal", "keychest_worker", "keychest_purge", "keychest_audit")
GONE = NOW + timedelta(days=31)
CHANGES = (
    "UPDATE audit_entries SET body = ''",
    "DELETE FROM audit_entries",
    "TRUNCATE audit_entries",
    "TRUNCATE audit_logs CASCADE",
    "INSERT INTO audit_entries VALUES (1, 0, '') ON CONFLICT (log, entry_index) DO UPDATE SET body = ''",
    "MERGE INTO audit_entries USING (SELECT 0 AS i) AS one ON entry_index = i WHEN MATCHED THEN DELETE",
)
"""Every way to change or take away an entry, of which no login has one."""
NOT_THEIRS = (
    "INSERT INTO audit_entries VALUES (1, 999, '')",
    "UPDATE audit_outbox SET kind = kind",
    "DELETE FROM audit_outbox",
    "UPDATE audit_logs SET size = 0",
    "UPDATE audit_private SET actor = ''",
    "DELETE FROM audit_erasures",
)
"""What the log's own login may do at most, and neither the portal's, the worker's nor the purge's."""


def as_the_runbook_says() -> list[str]:
    """Its two pieces of SQL about logins: before the first `db upgrade`, and after each."""
    section = (ROOT / "docs" / "runbook.md").read_text().partition("The logins on PostgreSQL")[2]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)[:2]


@pytest.fixture
def logins(postgres: Postgres) -> Iterator[dict[str, Sessions]]:
    """A database made that way, and sessions of each login."""
    url = postgres.empty()
    name = url.rpartition("/")[2]
    before, after = (said.replace("DATABASE keychest ", f"DATABASE {name} ") for said in as_the_runbook_says())
    owner = make_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    made: dict[str, Sessions] = {}
    with owner.connect() as connection:
        for login in LOGINS:
            connection.exec_driver_sql(f"CREATE ROLE {login} LOGIN")
        connection.exec_driver_sql(before)
        for login in LOGINS:
            made[login] = Sessions(make_engine(url.replace("postgres@", f"{login}@")))
        schema.upgrade(made["keychest_migrate"].engine)
        connection.exec_driver_sql(after)
    yield made
    for sessions in made.values():
        sessions.engine.dispose()
    owner.dispose()
    postgres.drop(url)
    for login in LOGINS:
        postgres._execute(f"DROP ROLE {login}")


def test_each_login_does_its_work_and_only_the_purge_deletes_what_people_made(logins: dict[str, Sessions], tmp_path: Path) -> None:
    portal, worker, purge = (logins[f"keychest_{name}"] for name in ("portal", "worker", "purge"))
    with portal.writing() as session:
        owner, _ = person(session, "mira@example.org")
        refs = [added.ref for added in make_watches(session, owner, "a.example", "b.example")]
        remove_watches(session, owner, refs=refs[:1], now=NOW)
        assert sign_in(session, checked=check_password(kept_of(session, "mira@example.org"), "wrong"), now=NOW) is None
        ask_for_passkey(session, half=None, site=site(), now=NOW)
    with worker.writing() as session:
        purge_spot_checks(session, NOW)
        purge_letters(session, NOW)
        purge_flows(session, NOW)
        drop_unserved(session, [1])
        prove(session, GONE)
    for sessions in (portal, worker):
        for table in ("users", "accounts", "memberships", "domains", "watches", "audit_outbox", "login_sessions", "api_tokens", "backups"):
            with pytest.raises(ProgrammingError, match="permission denied"), sessions.writing() as session:
                session.execute(sa.text(f"DELETE FROM {table}"))
    keeper = Keeper(tmp_path / "log")
    keeper.prepare()
    sequencer = Sequencer(logins["keychest_audit"], keeper, "keychest.example/log")
    made = sequencer.turn(NOW)
    with purge.writing() as session:
        assert purge_bin(session, Actor(worker=True), now=GONE) == Purged(names=1, domains=1)
        assert forget_accounts(session, Actor(worker=True), places=[(1, made - 1)], now=GONE) == 1
    assert sequencer.turn(NOW) > 0
    assert keeper.erased() == {(1, made - 1)}
    for name, sessions in logins.items():
        for statement in CHANGES:
            refused = "only ever added" if name == "keychest_migrate" else "permission denied|only ever added"
            with pytest.raises(DBAPIError, match=refused), sessions.writing() as session:
                session.execute(sa.text(statement))
        with pytest.raises(DBAPIError, match="permission denied"), sessions.writing() as session:
            session.execute(sa.text("SET session_replication_role = replica"))
    for name in ("keychest_portal", "keychest_worker", "keychest_purge"):
        for statement in NOT_THEIRS:
            with pytest.raises(ProgrammingError, match="permission denied"), logins[name].writing() as session:
                session.execute(sa.text(statement))
    with portal.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(User)) == 1


def test_what_portal_and_workers_delete_is_what_the_runbook_names(logins: dict[str, Sessions]) -> None:
    deleted = set[str]()
    for path in (ROOT / "core" / "store").glob("*.py"):
        if path.name != "erase.py":
            text = path.read_text()
            for model in re.findall(r"sa\.delete\((\w+)\)", text):
                found = re.search(rf"class {model}\(.*?__tablename__ = \"(\w+)\"", text, re.DOTALL)
                assert found is not None, model
                deleted.add(found[1])
    elsewhere = [path for room in ("core/actions", "portal", "jobs") for path in (ROOT / room).rglob("*.py")]
    assert not [path for path in elsewhere if "sa.delete(" in path.read_text()]
    for login in ("keychest_portal", "keychest_worker"):
        with logins[login].reading() as session:
            tables = "pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = 'keychest' AND relkind = 'r'"
            may = sa.text(f"SELECT relname FROM {tables} AND has_table_privilege(pg_class.oid, 'DELETE')")
            assert set(session.scalars(may)) == deleted, login
