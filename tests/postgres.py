"""A real PostgreSQL of the tests' own: its own folder, a free loopback port, ended by pid."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from core.store import schema
from core.store.db import make_engine

_numbers = itertools.count()


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs, the newest version that is installed; None where there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Postgres:
    """A running server; `database()` makes a fresh, migrated database and gives its URL."""

    port: int
    template: str = ""
    made: list[str] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def database(self) -> str:
        if not self.template:
            self._execute("CREATE DATABASE kc_template")
            engine = make_engine(self.url("kc_template"))
            schema.upgrade(engine)
            engine.dispose()
            self.template = "kc_template"
        return self.empty(self.template)

    def empty(self, template: str = "template1") -> str:
        name = f"kc_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Throw a database away: hundreds of them would fill the memory that they lie in."""
        self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """A new folder beside pytest's, which is closed to all others: the server's user can reach it, and its path is short."""
    folder = Path(tempfile.mkdtemp(prefix="kc-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(folder: Path, *, port: int = 0, settings: Sequence[str] = ()) -> Iterator[Postgres]:
    """A server in `folder`, which is made when it is empty and taken as it is otherwise. `settings` like "fsync=on" win."""
    bin_folder = programs()
    assert bin_folder is not None, "ask programs() first"
    port = port or free_port()
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    folder.mkdir(parents=True, exist_ok=True)
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    if not data.exists():
        made = [str(bin_folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "-N"]
        subprocess.run(made, check=True, user=user, cwd=folder, capture_output=True)
    options = [
        "-p",
        str(port),
        "-k",
        "",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
        "-c",
        "full_page_writes=off",
        "-c",
        "synchronous_commit=off",
        "-c",
        "max_connections=60",
        *(word for each in settings for word in ("-c", each)),
    ]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    server = subprocess.Popen([bin_folder / "postgres", "-D", data, *options], user=user, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(server, port)
        yield Postgres(port)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
        log.close()


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert server.poll() is None, "PostgreSQL ended as it started"
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres", connect_timeout=1).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("PostgreSQL did not answer")
