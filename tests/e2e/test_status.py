"""The status feed survives what it reports: everything but the watcher is killed, and strangers prove last night from the copy alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from audit.tiles import ENTRIES, bundle, read_bundle
from audit.tiles import Tile as LogTile
from core.actions.access import trust_host
from core.status.codec import decode
from core.status.told import Told
from tests.audit.test_verify_alone import ALONE, run
from tests.conftest import ROOT
from tests.hosts import TestHost
from tests.make import TERMINAL
from tests.postgres import free_port
from tests.processes import eventually
from tests.stage import Installation, children, installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("status")]
WHY = "The relay's queue is stuck"


@dataclass(frozen=True, slots=True)
class Copy:
    """A folder that a watcher keeps true."""

    folder: Path

    def told(self) -> Told:
        return decode((self.folder / "api/v2/keychest.json").read_bytes())

    def state(self, key: str) -> str:
        return next(each.state for each in self.told().components if each.key == key)

    def page(self) -> str:
        return (self.folder / "index.html").read_text()


@contextmanager
def watching(url: str, folder: Path) -> Iterator[Copy]:
    """`./keychest status watch`, as it runs on another machine: it knows an address, and nothing of the installation."""
    words = ("status", "watch", url, "--publish", str(folder), "--every", "1", "--name", "our watcher")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_", "REDIS_"))}
    process = subprocess.Popen((sys.executable, "-m", "cli", *words), cwd=ROOT, env=environment)
    try:
        yield Copy(folder)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def delivered(running: Installation, folder: Path) -> None:
    """Somebody is on a host of production by sftp, with a reason, and leaves."""
    host, now = TestHost(folder), datetime.now(UTC)
    sessions = running.sessions()
    with sessions.writing() as session:
        trust_host(session, TERMINAL, name=host.name, public_key=host.public_key, now=now)
    sessions.engine.dispose()
    began = now - timedelta(minutes=20)
    reports = [
        host.opened(began, "s1"),
        host.report("completed", began, session="s1", kind="sftp"),
        host.report("reason", began, session="s1", reason=WHY),
        host.report("closed", now, session="s1"),
    ]

    body = json.dumps(host.delivery(now, reports)).encode()
    with urlopen(Request(f"{running.url}/access/reports", body, {"Content-Type": "application/json"})) as answer:
        assert json.load(answer) == {"next": 5}


def kill_all(running: Installation) -> None:
    """Every process of the installation at once, as when the host is gone."""
    everybody = [running.process.pid]
    for pid in everybody:
        with suppress(FileNotFoundError):
            everybody += children(pid)
    for pid in everybody:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.process.wait(10)


def test_when_everything_but_the_watcher_is_killed_the_copy_says_so_and_strangers_prove_the_night(tmp_path: Path) -> None:
    port = free_port()
    with watching(f"http://localhost:{port}", tmp_path / "copy") as copy:
        with installation(tmp_path / "data", {}, port=port) as running:
            running.await_health()
            delivered(running, tmp_path)
            eventually(lambda: proven(copy), within_s=120)
            assert copy.told().unreachable_since is None
            kill_all(running)
        died = datetime.now(UTC)
        eventually(lambda: copy.told().unreachable_since is not None, within_s=30)
        told = copy.told()
        assert told.unreachable_since is not None
        assert abs(told.unreachable_since - died) < timedelta(seconds=20)
        assert (copy.state("portal"), copy.state("database")) == ("down", "unmeasured")
        assert '"indicator":"critical"' in (copy.folder / "api/v2/status.json").read_text().replace(" ", "")
        assert "our watcher" in copy.page()
        assert "cannot be reached" in copy.page()
        strangers_prove(copy, tmp_path)
        with installation(tmp_path / "data", {}, port=port) as running:
            running.await_health()
            eventually(lambda: copy.told().unreachable_since is None and copy.state("portal") == "ok", within_s=60)
            assert copy.told().incidents[0].title == "The portal could not be reached"


def proven(copy: Copy) -> bool:
    """Whether the copy has the access with all its entries, and a drill that is in the log."""
    with suppress(FileNotFoundError):
        told = copy.told()
        entries = [len(each.entries) for each in told.accesses]
        return entries == [4] and told.backups is not None and len(told.backups.drill) >= 2
    return False


def strangers_prove(copy: Copy, folder: Path) -> None:
    """With the copied folder and a few files of audit/: the access and the drill are in the log, and what was changed is found."""
    alone = folder / "alone"
    (alone / "audit").mkdir(parents=True)
    for name in ALONE:
        (alone / "audit" / f"{name}.py").write_bytes((ROOT / "audit" / f"{name}.py").read_bytes())
    told = copy.told()
    (access,) = told.accesses
    assert (access.host, access.kind, access.role, access.ending, access.reason) == ("web-1", "sftp", "administrator", "closed", WHY)
    code, said = run(alone, "open", copy.folder / "access" / "reasons.json")
    assert code == 0, said
    assert WHY in said
    assert told.backups is not None
    assert (told.backups.accounts, told.backups.restorable) == (0, 0)
    for _, index in (*access.entries, *told.backups.drill):
        code, said = run(alone, "verify", copy.folder / "log", "--entry", str(index))
        assert code == 0, said
    assert "drill" in said
    log = copy.folder / "log"
    size = int((log / "checkpoint").read_text().split("\n")[1])
    tile = LogTile(ENTRIES, 0, size)
    whole = (log / tile.path).read_bytes()
    bodies = read_bundle(whole, tile)
    at = access.entries[0][1]
    forged = [*bodies[:at], bodies[at].replace(b"administrator", b"superuser"), *bodies[at + 1 :]]
    dropped = [*bodies[:at], *bodies[at + 1 :], bodies[at + 1]]
    dated = [*bodies[:at], bodies[at].replace(b'"at":"2', b'"at":"1'), *bodies[at + 1 :]]
    for changed in (forged, dropped, dated):
        (log / tile.path).write_bytes(bundle(changed))
        code, said = run(alone, "verify", log, "--entry", str(at))
        assert code == 1, said
    (log / tile.path).write_bytes(whole)
