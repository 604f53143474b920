"""A restored cluster that reaches nobody and that nobody reaches: its own configuration, one socket in a folder of its owner's.

It fetches WAL from the repository until its target and becomes writable there; from then on it knows the repository no more.
Its own settings stand for all of the live cluster's, which are put aside in `live-configuration/`: who makes such a copy the
live one puts them back. For PostgreSQL 12 and later.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from core import lifeline
from core.backups.engine import BackupError, Trouble
from core.backups.owner import Owner, run
from core.backups.pg_tables import dial
from core.backups.pgbackrest_program import readable, trouble

ASIDE: Final = "live-configuration"
_PROGRAMS: Final = "/usr/lib/postgresql/{version}/bin"
_MARK: Final = "# Restored by KeyChest to be looked at"
_HEAD: Final = f"""{_MARK}: it listens nowhere, archives nothing and replicates nothing.
# To make it the live cluster: put the files of {ASIDE}/ in the place of this one, of pg_hba.conf and of pg_ident.conf.
"""
_STOP_S: Final = 60.0
_LOOK_S: Final = 60.0
_RECOVERY_S: Final = 4 * 3600.0
_PORT: Final = "5432"  # no more than the name of a socket in a folder of its own
_ALONE: Final = {
    "listen_addresses": "",
    "unix_socket_directories": "",
    "unix_socket_permissions": "0700",
    "ssl": "off",
    "archive_mode": "off",
    "primary_conninfo": "",
    "synchronous_standby_names": "",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",  # a subscription that came with the backup must not dial
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "hot_standby": "off",  # it answers when it is recovered, not before
    "autovacuum": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "lc_messages": "C",
    "huge_pages": "off",
    "shared_buffers": "64MB",
    "restart_after_crash": "off",
}
_SIZES: Final = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
    "track_commit_timestamp setting": "track_commit_timestamp",
}
"""What recovery needs as large as it was: as pg_controldata calls it, as the configuration does."""
_ENDS: Final[tuple[tuple[str, Trouble, str], ...]] = (
    # what stands in the server's log, the trouble, the sentence; the first that fits counts
    (r"No space left on device", "full", "There is no room left to recover in"),
    (
        r"data checksum in record|invalid magic number|unexpected pageaddr|incorrect prev-link|invalid resource manager ID",
        "damaged",
        "The WAL is damaged",
    ),
    (r"invalid page in block|page verification failed", "damaged", "Pages of the backup are damaged"),
    (
        r"recovery ended before configured recovery target|WAL ends before end of|could not locate (required|a valid) checkpoint record",
        "missing WAL",
        "Recovery did not come to its point",
    ),
    (r"lock file .* already exists", "refused", "Somebody has it open already"),
)


def programs(into: Path) -> Path:
    """The folder of the server programs of the version that made `into`. Raises BackupError when they are not installed."""
    try:
        version = (into / "PG_VERSION").read_text().strip()
    except OSError:
        raise BackupError("refused", f"{into} is no PostgreSQL data directory.") from None
    folder = Path(_PROGRAMS.format(version=version))
    if not re.fullmatch(r"\d+", version) or not (folder / "postgres").exists():
        raise BackupError(
            "tool", f"The backup is of PostgreSQL {version}, which is not installed here (apt-get install postgresql-{version})."
        )
    return folder


def isolate(into: Path, owner: Owner, login: str, recovery: Mapping[str, str]) -> None:
    """Put the live cluster's configuration aside and write one that reaches nobody; `login` alone may come in. Raises BackupError."""
    told = run(owner, [str(programs(into) / "pg_controldata"), "-D", str(into)], within_s=_LOOK_S)
    if told.code != 0:
        raise BackupError("damaged", f"What was restored has no readable control file: {readable(told.err)}")
    control = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told.out.splitlines())}
    sizes = {ours: control[name] for name, ours in _SIZES.items() if name in control}
    aside = into / ASIDE
    aside.mkdir(mode=0o700)
    owner.give(aside)
    for name in ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"):
        if (into / name).exists():
            (into / name).rename(aside / name)
    lines = [f"{name} = {_quoted(value)}\n" for name, value in {**_ALONE, **sizes, **recovery}.items()]
    _write(into / "pg_hba.conf", f'local all "{login.replace(chr(34), 2 * chr(34))}" trust\n', owner)
    _write(into / "pg_ident.conf", "", owner)
    _write(into / "postgresql.conf", _HEAD + "".join(lines), owner)


def _quoted(value: str) -> str:
    return f"'{value.replace(chr(39), 2 * chr(39))}'"


def _write(path: Path, text: str, owner: Owner) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    owner.give(path)


@contextmanager
def serving(into: Path, owner: Owner, *, login: str, database: str) -> Iterator[str]:
    """The URL of a server on `into`, recovered, for as long as the block runs; then it is gone, and its socket. Raises BackupError."""
    conf = into / "postgresql.conf"
    if not conf.exists() or not conf.read_text(errors="replace").startswith(_MARK):
        raise BackupError("refused", f"{into} was not restored by KeyChest, so it is not opened.")
    folder = Path(tempfile.mkdtemp(prefix="kc-", dir="/tmp"))  # a socket's path has 107 bytes; the folder is 0700
    owner.give(folder)
    try:
        with (folder / "log").open("wb") as log:
            server = _start([str(programs(into) / "postgres"), "-D", str(into), "-k", str(folder), "-p", _PORT], owner, log.fileno())
        try:
            _recover(server, into, folder / "log")
            url = sa.URL.create("postgresql+psycopg", username=login, database=database, query={"host": str(folder), "port": _PORT})
            dial(url.render_as_string()).close()
            yield url.render_as_string()
        finally:
            _stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(argv: list[str], owner: Owner, log: int) -> subprocess.Popen[bytes]:
    me = os.getpid()
    return subprocess.Popen(  # noqa: S603 - no shell, and the words are ours
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=owner.environment,
        user=owner.uid,
        group=owner.gid,
        extra_groups=owner.groups,
        start_new_session=True,
        preexec_fn=lambda: lifeline.end_with(me, signal.SIGINT),  # noqa: PLW1509 - takes no lock, see core/lifeline.py
    )


def _recover(server: subprocess.Popen[bytes], into: Path, log: Path) -> None:
    """Wait until the server lets people in, as the eighth line of its pid file says."""
    until = time.monotonic() + _RECOVERY_S
    while server.poll() is None:
        with contextlib.suppress(OSError):
            told = (into / "postmaster.pid").read_text().splitlines()
            if len(told) > 7 and told[0] == str(server.pid) and told[7].strip() == "ready":  # noqa: PLR2004 - miscadmin.h, LOCK_FILE_LINE_PM_STATUS
                return
        if time.monotonic() > until:
            raise BackupError("tool", f"Recovery was not done within {_RECOVERY_S:g} s and was stopped.")
        time.sleep(0.02)
    raise end_of(log.read_text(errors="replace"))


def end_of(log: str) -> BackupError:
    """Why a server ended as it recovered, from its log."""
    fetching = "\n".join(line for line in log.splitlines() if not re.match(r"\d{4}-\d\d-\d\d |INFO:", line))  # pgBackRest's own lines
    if failed := re.search(r"^ERROR: \[(\d{3})\]", fetching, re.MULTILINE):
        return trouble(int(failed[1]), fetching, doing="archive-get")
    last = readable("\n".join(line for line in log.splitlines() if re.search(r"FATAL|PANIC|ERROR", line))) or "it said nothing"
    absent = re.findall(r"unable to find ([0-9A-F]{24}) in the archive", log)
    for pattern, meant, sentence in _ENDS:
        if re.search(pattern, log):
            which = f": {absent[-1]} is not in the repository" if meant == "missing WAL" and absent else ""
            return BackupError(meant, f"{sentence}{which}. The restored server said: {last}")
    return BackupError("tool", f"The restored server ended. It said: {last}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    for by in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is None:
            server.send_signal(by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_S)
            return
