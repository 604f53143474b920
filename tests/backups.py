"""A place in which backups are made for real: a database, targets that are folders, keys, and jobs run as a worker runs them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from core.actions.backups import stored_of
from core.actions.policy import Actor
from core.backups import keys
from core.backups.plan import Plan
from core.backups.stored import Stored
from core.store.accounts import Account
from core.store.backups import Backup, Drill, backup_by_ref, backups, newest_drill
from core.store.db import Sessions
from jobs.backup import back_up
from jobs.context import Context
from jobs.drill import drill
from tests.make import make_actor, make_watches

WORKER = Actor(worker=True)


@dataclass(slots=True)
class Yard:
    """An installation's backups, with a time of its own."""

    sessions: Sessions
    folder: Path
    at: datetime = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    urls: list[str] = field(default_factory=list)
    production: bool = False
    recovery_key: str = ""
    smtp_url: str = ""
    pgbackrest_config: str = ""
    keep: str = "hourly=24,daily=14,weekly=8,monthly=12"

    @property
    def plan(self) -> Plan:
        url = self.sessions.engine.url.render_as_string(hide_password=False)
        urls = tuple(self.urls or [(self.folder / "first").as_uri(), (self.folder / "second").as_uri()])
        return Plan(
            data=self.folder,
            production=self.production,
            database_url=url,
            target_urls=urls,
            recovery_key=self.recovery_key,
            keep=self.keep,
            pgbackrest_config=self.pgbackrest_config,
            pgbackrest_stanza="kc",
        )

    @property
    def context(self) -> Context:
        return Context(
            sessions=self.sessions, now=lambda: self.at, data=self.folder, public_url="http://localhost", scan_allow=(),
            scan_allow_accounts=(), extra_roots="", resolvers=(), scan_interval_s=28_800, scan_lease_s=180, smtp_url=self.smtp_url,
            mail_from="KeyChest <keychest@localhost>", plan=self.plan,
        )  # fmt: skip

    def pass_time(self, length: timedelta) -> None:
        self.at += length

    def add_accounts(self, count: int, *, at: datetime | None = None) -> None:
        """Accounts with a name each."""
        with self.sessions.writing() as session:
            made = session.scalar(sa.select(sa.func.count()).select_from(Account)) or 0
            for number in range(made, made + count):
                actor = make_actor(session, f"person{number}@example.org", now=at or self.at - timedelta(days=3))
                make_watches(session, actor, f"host{number}.example.org", now=at or self.at - timedelta(days=3))

    def back_up(self) -> Backup:
        """What the try of this moment became."""
        back_up(self.context, "now")
        with self.sessions.reading() as session:
            return session.scalars(sa.select(Backup).order_by(Backup.id.desc()).limit(1)).one()

    def drill(self, ref: str = "") -> Drill:
        drill(self.context, ref)
        with self.sessions.reading() as session:
            found = newest_drill(session)
        assert found is not None
        return found

    def known(self, ref: str) -> Backup:
        with self.sessions.reading() as session:
            found = backup_by_ref(session, ref)
        assert found is not None
        return found

    def stored(self) -> list[Backup]:
        with self.sessions.reading() as session:
            return backups(session)

    def sealed(self, backup: Backup, target: str = "first") -> Path:
        return self.folder / target / stored_of(backup).sealed

    def files(self, target: str, ending: str = "") -> list[Path]:
        return sorted(path for path in (self.folder / target).rglob(f"*{ending}") if path.is_file())


def open_alarms(yard: Yard) -> list[str]:
    """Their kinds."""
    with yard.sessions.reading() as session:
        return list(session.scalars(sa.text("SELECT kind FROM alarms WHERE closed_at IS NULL")))


def flip(path: Path, at: int) -> None:
    """Change one bit of the byte at `at`."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def replace_sealed(yard: Yard, stored: Stored, change: Callable[[Path], None]) -> None:
    """Put another database file under a stored backup's name at every target, sealed to the same recipients, label and all."""
    from dataclasses import replace

    from core import seal
    from core.backups.restore import unseal
    from core.backups.sqlite import Sqlite

    for target in ("first", "second"):
        sealed = yard.folder / target / stored.sealed
        plain = yard.folder / "plain.db"
        unseal(sealed, plain, [keys.drill_identity(yard.folder)])
        change(plain)
        recipients = [seal.recipient_of(keys.drill_identity(yard.folder)), seal.recipient_of(keys.development_recovery(yard.folder)[0])]
        with plain.open("rb") as file, sealed.open("wb") as into:
            done = seal.seal(file, into, recipients)
        scratch = yard.folder / "toy"
        scratch.mkdir(exist_ok=True)
        taken = Sqlite(plain).take(scratch, now=lambda: stored.manifest.at)
        toy = replace(stored, manifest=replace(taken.manifest, plain_sha256=done.plain_sha256), size_bytes=done.bytes, sha256=done.sha256)
        (yard.folder / target / stored.label).write_bytes(toy.to_bytes())
        plain.unlink()
