"""A whole installation, started, used, hurt and stopped. Every test is a real run of every process."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from cli import broker, main, up, words
from config import Settings
from core.broker import answers
from core.store.db import Sessions, make_engine
from tests.make import make_actor, make_watches
from tests.processes import eventually, marked

PROJECT = Path(__file__).resolve().parents[2]
PROCESSES = 10  # supervisor, broker, sequencer, portal, four workers, clock, status


class Installation:
    """`./keychest up` on a data folder, from a folder that is not the project's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.mark = folder, folder / "data", uuid.uuid4().hex
        self.running: list[subprocess.Popen[str]] = []
        self.url = ""

    def move(self, folder: Path) -> None:
        """Another folder, before anything was started."""
        folder.mkdir()
        self.folder, self.data = folder, folder / "data"

    def start(self, *more: str, **settings: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEYCHEST_", "DATABASE_", "REDIS_"))}
        self.running.append(
            subprocess.Popen(
                [str(PROJECT / "keychest"), "up", "--port", "0", "--data", "data", *more],
                cwd=self.folder,
                env=environment | settings | {"KC_MARK": self.mark},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return self.running[-1]

    def started(self, **settings: str) -> subprocess.Popen[str]:
        process = self.start(**settings)
        line = self.line(process)
        found = re.match(r"KeyChest is at (http://localhost:\d+) ", line)
        assert found, line
        self.url = found[1]
        return process

    def line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline()

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urlopen(f"{self.url}/healthz", timeout=20) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
        except (URLError, OSError):
            return 0, {}

    def well(self, within_s: float = 30) -> None:
        eventually(lambda: self.health()[0] == 200, within_s=within_s)
        assert set(self.health()[1]["workers"]) == {"now", "scan", "ops", "backup"}

    def processes(self) -> dict[int, str]:
        return marked(self.mark, f"{self.data}/broker", f"of {self.data}")

    def replaced(self, name: str, before: int) -> bool:
        return self.pid(name) not in {0, before}

    def pid(self, name: str) -> int:
        return next((pid for pid, words in self.processes().items() if name in words), 0)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    for process in installation.running:
        process.kill()
        process.communicate()
    eventually(lambda: not installation.processes(), within_s=10)


@pytest.mark.slow
def test_up_and_down_twice(installation: Installation) -> None:
    process = installation.started()
    link = installation.line(process)
    assert link.startswith("Nobody has set it up yet.")
    assert f"{installation.url}/setup/" in link
    installation.well()
    eventually(lambda: len(installation.processes()) == PROCESSES)  # once the first backup's work horse is done
    assert installation.data.stat().st_mode & 0o777 == 0o700
    assert (installation.data / "secret-key").stat().st_mode & 0o777 == 0o600
    with urlopen(link.split()[-1]) as page:
        assert page.status == 200
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    stopped = [line for line in said.splitlines() if line.startswith("Stopping")]
    assert stopped == [
        "Stopping: status.",
        "Stopping: clock.",
        "Stopping: portal.",
        "Stopping: worker-now, worker-scan, worker-ops, worker-backup.",
        "Stopping: sequencer.",
        "Stopping: broker.",
    ]
    assert not installation.processes()
    began = time.monotonic()
    installation.started()
    installation.well()
    # Five seconds on a machine that has nothing else to do; one that runs other tests beside is given its due.
    assert time.monotonic() - began < 5 * max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.slow
def test_what_is_killed_comes_back_and_with_its_supervisor_killed_nothing_stays(installation: Installation) -> None:
    """One after the other: a child, the supervisor at rest, and the next one in the middle of a batch."""
    process = installation.started()
    installation.well()
    for name in ("valkey-server", "keychest: worker-scan", "keychest: clock", "keychest: portal"):
        before = installation.pid(name)
        assert before, name  # 0 would be the group that this test belongs to
        os.kill(before, signal.SIGKILL)
        assert installation.health()[0] in {200, 503}  # a portal that is killed is waited for: its socket is the supervisor's
        eventually(functools.partial(installation.replaced, name, before))
    installation.well()
    eventually(lambda: len(installation.processes()) == PROCESSES)  # once the first backup's work horse is done
    process.kill()
    process.wait()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # a resolver that never answers makes a batch last
        silent.bind(("127.0.0.1", 0))
        process = installation.started(KEYCHEST_RESOLVERS=f"127.0.0.1:{silent.getsockname()[1]}")  # at once: orphans may still be ending
        installation.well()
        eventually(lambda: len(installation.processes()) == PROCESSES)
        engine = make_engine(f"sqlite:///{installation.data / 'keychest.db'}")
        now = datetime.now(UTC)
        with Sessions(engine).writing() as session:
            make_watches(session, make_actor(session, now=now), *(f"name-{number}.example" for number in range(30)), now=now)
        engine.dispose()
        eventually(lambda: len(installation.processes()) > PROCESSES)  # a work horse
        assert silent.recv(4096)  # and it is at work
        process.kill()
        process.wait()
        eventually(lambda: not installation.processes(), within_s=5)


@pytest.mark.slow
def test_in_a_folder_with_an_odd_name_a_second_up_is_refused_and_no_secret_stands_where_everybody_reads(installation: Installation) -> None:
    """A name that is neither plain nor short; what each of the two does to the broker is asked in test_broker."""
    installation.move(installation.folder / f"my données {'long' * 30}")
    process = installation.started(
        KEYCHEST_SECRET_KEY="canary-of-the-key-of-this-installation", KEYCHEST_SMTP_URL="smtp://me:canary@127.0.0.1:25"
    )
    second = installation.start()
    said, _ = second.communicate(timeout=40)
    assert (second.returncode, said.count("\n")) == (words.UNAVAILABLE, 1)
    assert f"already (process {process.pid})" in said
    installation.well()  # the workers too: one that cannot count itself gives no sign of life
    assert (installation.data / "address").read_text().strip() == installation.url
    assert not [line for line in installation.processes().values() if "canary" in line]
    assert not [path for path in (installation.data / "logs").iterdir() if "canary" in path.read_text()]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 0


@pytest.mark.slow
def test_production_does_not_migrate_by_itself(installation: Installation) -> None:
    process = installation.start(KEYCHEST_ENVIRONMENT="production")
    said, _ = process.communicate(timeout=20)
    assert process.returncode == words.MISCONFIGURED
    assert "./keychest db upgrade" in said
    assert not installation.processes()


@pytest.mark.slow
def test_a_broker_of_ones_own_is_used_instead(installation: Installation, tmp_path: Path) -> None:
    theirs = broker.prepare(tmp_path / "theirs")
    process = subprocess.Popen(theirs.argv, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(theirs.url))
        installation.started(REDIS_URL=theirs.url)
        installation.well()
        eventually(lambda: len(installation.processes()) == PROCESSES - 1)
        assert not (installation.data / "broker").exists()
    finally:
        process.kill()
        process.wait()
    eventually(lambda: installation.health()[1].get("broker") == "bad")


@pytest.mark.slow
def test_a_broker_whose_files_are_damaged_is_told(installation: Installation) -> None:
    files = installation.data / "broker" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("no manifest\n")
    installation.data.chmod(0o700)
    process = installation.start()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == words.UNAVAILABLE
    assert "The broker did not start" in said
    assert "it holds no work that the database does not know" in said


def test_roots_that_cannot_be_read_are_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEYCHEST_EXTRA_ROOTS", str(tmp_path / "no.pem"))
    assert main.main(["up", "--port", "0", "--data", str(tmp_path / "data")]) == words.MISCONFIGURED
    assert "KEYCHEST_EXTRA_ROOTS" in capsys.readouterr().err
    assert not (tmp_path / "data/keychest.db").exists()


def test_what_others_reach_is_told() -> None:
    assert up.exposure(Settings()) == ()
    kind, link = up.exposure(Settings.from_environment({"KEYCHEST_HOST": "0.0.0.0", "KEYCHEST_PORT": "8123"}))
    assert "runs as production" in kind
    assert "Set KEYCHEST_BASE_URL: links in mails say http://localhost:8123" in link
    assert "TLS proxy" in link
    named = Settings.from_environment({"KEYCHEST_HOST": "0.0.0.0", "KEYCHEST_BASE_URL": "https://k.example"})
    assert len(up.exposure(named)) == 1


def test_a_port_in_use_is_told_and_zero_is_a_real_one() -> None:
    with up.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert port > 0
        with pytest.raises(words.Sorry, match=rf"Port {port} on 127.0.0.1 cannot be used: address already in use") as refused:
            up.listen("127.0.0.1", port)
        assert refused.value.code == words.UNAVAILABLE
    with socket.create_server(("127.0.0.1", 0)) as taken_by_another, pytest.raises(words.Sorry, match="cannot be used"):
        up.listen("127.0.0.1", taken_by_another.getsockname()[1])


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(words.Sorry, match="is no address of this machine"):
        up.listen(host, 0)
