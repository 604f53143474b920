"""Jobs as processes of their own, by `python -m jobs.once`, on a yard's database and targets: alone, two at once, or stopped at a point."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from tests.backups import Yard
from tests.processes import eventually

ROOT = Path(__file__).resolve().parents[1]
_KILLED_THERE = """
import importlib, os, signal, sys
from jobs.once import main
module, name = sys.argv[1].split(":")
setattr(importlib.import_module(module), name, lambda *_words, **_named: os.kill(os.getpid(), signal.SIGKILL))
sys.exit(main(sys.argv[2:]))
"""
_OURS = ("KEYCHEST_", "DATABASE_URL", "REDIS_URL")


def environment(yard: Yard) -> dict[str, str]:
    """What the yard's settings are in the environment of a process."""
    plan = yard.plan
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
        "KEYCHEST_DATA": str(yard.folder),
        "KEYCHEST_ENVIRONMENT": "production" if yard.production else "development",
        "KEYCHEST_BACKUP_TARGETS": ",".join(plan.target_urls),
        "KEYCHEST_SMTP_URL": yard.smtp_url,
        "DATABASE_URL": plan.database_url,
        "KEYCHEST_PGBACKREST_CONFIG": plan.pgbackrest_config,
        "KEYCHEST_PGBACKREST_STANZA": plan.pgbackrest_stanza,
        "PYTHONPATH": str(ROOT),
    }


@contextlib.contextmanager
def begun(yard: Yard, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The job, running. One that still runs at the end of the block is killed."""
    process = subprocess.Popen(
        (sys.executable, "-P", "-m", "jobs.once", *words), env=environment(yard), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_once(yard: Yard, *words: str) -> None:
    """The job to its end."""
    with begun(yard, *words) as process:
        assert process.wait(60) == 0


def kill_at(yard: Yard, function: str, *words: str) -> None:
    """The job, killed -9 where it calls `function`, "module:name", and before anything of that is done."""
    argv = (sys.executable, "-P", "-c", _KILLED_THERE, function, *words)
    ran = subprocess.run(argv, env=environment(yard), cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == -signal.SIGKILL, f"{function} was not met: {ran.returncode}, {ran.stderr}"


def together(yard: Yard, *words: str, times: int) -> None:
    """The job in so many processes at once: a writer holds the database until all of them stand before it."""
    file = yard.plan.database_file.resolve()
    with contextlib.ExitStack() as stack:
        with closing(sqlite3.connect(file, isolation_level=None)) as gate:
            gate.execute("BEGIN IMMEDIATE")
            processes = [stack.enter_context(begun(yard, *words)) for _ in range(times)]
            for process in processes:
                eventually(lambda process=process: file in _open_files(process.pid))  # type: ignore[misc]  # mypy has no type for the default
            gate.execute("ROLLBACK")
        assert [process.wait(60) for process in processes] == [0] * times


def _open_files(pid: int) -> list[Path]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed while we looked
            found.append(link.readlink())
    return found


def stop_at(process: subprocess.Popen[bytes], met: Callable[[], bool]) -> bool:
    """Stop a job where `met` holds, and look again: it stands where the test says. False where it was too fast for us."""
    while process.poll() is None:
        if met():
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: _stopped(process))
            return met()
    return False


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "Z"}
    return True
