"""A real cluster of the tests' own that archives into a real, encrypted pgBackRest repository, all in one folder; ended by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import sqlalchemy as sa

from core.backups.pgbackrest import PgBackRest
from core.store import schema
from core.store.db import Sessions, make_engine
from tests.backups import Yard
from tests.postgres import folder_of_its_own, free_port, programs
from tests.processes import eventually

STANZA = "kc"
PASSPHRASE = "of-the-tests-alone-4f1c9b"
_CONFIG = """[global]
repo1-path={folder}/repository
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass={passphrase}
repo1-bundle=y
compress-type=zst
start-fast=y
process-max=2
job-retry=0
log-level-file=off
lock-path={folder}/lock
spool-path={folder}/spool

[{stanza}]
pg1-path={folder}/data
pg1-port={port}
pg1-socket-path={sockets}
"""
_INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "-N", "-k")
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "archive_mode": "on",
    "archive_timeout": "60",
    "wal_level": "replica",
    "fsync": "off",
    "max_wal_size": "256MB",
}


def missing() -> str:
    """Why there can be no such cluster here; "" when there can."""
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    return "" if shutil.which("pgbackrest") else "pgBackRest is not installed (apt-get install pgbackrest)"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster whose WAL goes into a repository, with a migrated database `keychest`."""

    folder: Path
    port: int

    @property
    def sockets(self) -> Path:
        return self.folder / "sockets"

    @property
    def config(self) -> Path:
        return self.folder / "pgbackrest.conf"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def url(self, database: str = "keychest", login: str = "postgres") -> str:
        return f"postgresql+psycopg://{login}@127.0.0.1:{self.port}/{database}"

    def engine(self, config: Path | None = None) -> PgBackRest:
        return PgBackRest(config or self.config, STANZA, self.url())

    def connect(self, database: str = "keychest") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname={database}", autocommit=True)

    def make(self, path: Path) -> Path:
        """A folder of the cluster's owner."""
        path.mkdir(parents=True)
        give(path)
        return path

    def config_with(self, name: str, old: str, new: str) -> Path:
        """Another configuration of the same repository, with one thing changed."""
        path = self.folder / name
        path.write_text(self.config.read_text().replace(old, new))
        path.chmod(0o600)
        give(path)
        return path

    def segments(self) -> list[Path]:
        """The WAL files in the repository, oldest first."""
        found = (self.repository / "archive").rglob("*.zst")
        return sorted(found, key=lambda path: path.name)


def give(path: Path) -> None:
    """Make it the cluster's owner's."""
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def _configure(cluster: Cluster) -> None:
    for name in ("repository", "lock", "spool", "sockets"):
        cluster.make(cluster.folder / name)
    words = _CONFIG.format(folder=cluster.folder, passphrase=PASSPHRASE, stanza=STANZA, port=cluster.port, sockets=cluster.sockets)
    cluster.config.write_text(words)
    cluster.config.chmod(0o600)
    give(cluster.config)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster in a new folder beside pytest's: its path stays short, and open for the server's user."""
    with folder_of_its_own() as folder:
        give(folder)
        yield from _running(folder)


def _running(folder: Path) -> Iterator[Cluster]:
    bin_folder = programs()
    assert bin_folder is not None, "ask missing() first"
    cluster = Cluster(folder, free_port())
    _configure(cluster)
    user = "postgres" if os.getuid() == 0 else None
    made = [str(bin_folder / "initdb"), "-D", str(cluster.data), *_INITDB]
    subprocess.run(made, check=True, user=user, cwd=folder, capture_output=True)
    options = {
        **_OPTIONS,
        "port": cluster.port,
        "unix_socket_directories": cluster.sockets,
        "archive_command": f"pgbackrest --config={cluster.config} --stanza={STANZA} archive-push %p",
    }
    with (folder / "log").open("ab") as log:
        words_of_server = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen(
            [str(bin_folder / "postgres"), "-D", str(cluster.data), *words_of_server], user=user, cwd=folder, stdout=log, stderr=log
        )
    try:
        eventually(lambda: (cluster.sockets / f".s.PGSQL.{cluster.port}").exists() and _ready(cluster.data))
        with cluster.connect("postgres") as connection:
            connection.execute("CREATE DATABASE keychest")
        engine = make_engine(cluster.url())
        schema.upgrade(engine)
        engine.dispose()
        yield cluster
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def _ready(data: Path) -> bool:
    lines = (data / "postmaster.pid").read_text().splitlines() if (data / "postmaster.pid").exists() else []
    return len(lines) > 7 and lines[7].strip() == "ready"


@contextmanager
def yard_at(cluster: Cluster, folder: Path | None = None) -> Iterator[Yard]:
    """A yard beside the cluster, in a fresh folder where none is given. The database forgets what was asked of it before; all is due."""
    if folder is None:
        folder = cluster.folder / f"data-{datetime.now(UTC):%H%M%S%f}"
        folder.mkdir(mode=0o700)
    sessions = Sessions(make_engine(cluster.url()))
    now = datetime.now(UTC)
    with sessions.writing() as session:
        tables = "audit_outbox, drills, backups, alarms, alarm_mails, recovery_kits, backup_holds, accounts, users"
        session.execute(sa.text(f"TRUNCATE {tables} CASCADE"))
        session.execute(sa.text("UPDATE chores SET lease_until = NULL, wanted_at = NULL, about = '', next_at = :now"), {"now": now})
    try:
        yield Yard(sessions, folder, at=now, pgbackrest_config=str(cluster.config))
    finally:
        sessions.engine.dispose()
