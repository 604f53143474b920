"""A host of production: a real sshd with PAM, set up by install, and a portal that hears it, all below one folder.

with recorded_host() as host:                    # skips where this machine cannot
    with host.portal.listening():
        host.ssh("true"); host.recorder.turn()

sshd runs in mounts of its own, in which /etc/ssh, /etc/pam.d, /etc/passwd and /dev/log are the folder's: the machine's own stay untouched.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.access.installing import Host, changes, make_state, write
from core.access.recorder import _settings
from core.access.running import Recorder
from core.reported import Beat, Report, holds, read_beat, read_report
from tests.postgres import folder_of_its_own, free_port
from tests.processes import eventually
from tests.sshd import _wait, program

NAME = "web-1"
USER = "kcwalker"
_CONF = """Include /etc/ssh/sshd_config.d/*.conf
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM yes
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
Subsystem sftp internal-sftp
"""
PAM = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
_START = """set -e; D="$1"; mkdir "$D/dev"; mount -t tmpfs dev "$D/dev"; cd "$D/dev"; mkdir pts shm
for each in null zero full random urandom tty ptmx; do touch $each; mount --bind /dev/$each $each; done
mount --bind /dev/pts pts; mount --rbind /dev/shm shm; ln -s /proc/self/fd fd; ln -s "$D/log" log
mount --bind "$D/etc/ssh" /etc/ssh; mount --bind "$D/etc/pam.d" /etc/pam.d; mount --bind "$D/etc/passwd" /etc/passwd
cd /; mount --rbind "$D/dev" /dev; exec "$2" -D"""


@dataclass
class HeardPortal:
    """A portal that takes what holds, in order and once. `lose`: how many answers get lost after it took what came."""

    port: int
    public_key: str = ""
    reports: list[Report] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    doubled: int = 0
    lose: int = 0
    trouble: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def listening(self) -> Iterator[HeardPortal]:
        portal = self

        class Takes(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, answer = portal.take(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if portal.lose:
                    portal.lose -= 1
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Takes)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def take(self, path: str, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert path == "/access/reports"
        if self.trouble:
            return 409, {"error": self.trouble, "next": len(self.reports) + 1}
        for each in (told["beat"], *told["reports"]):
            if not holds(self.public_key, each["text"], each["signature"]):
                return 403, {"error": "A signature is not by this host's key. Nothing was taken."}
        beat = read_beat(told["beat"]["text"], told["host"])
        if self.beats and beat.beat <= self.beats[-1].beat:
            return 409, {"error": "An old heartbeat.", "next": len(self.reports) + 1, "beat": self.beats[-1].beat}
        self.beats.append(beat)
        for text in (each["text"] for each in told["reports"]):
            report = read_report(text, told["host"])
            if report.number == len(self.reports) + 1:
                self.reports.append(report)
                self.texts.append(text)
            else:
                self.doubled += 1
                assert text == self.texts[report.number - 1], "one number, two texts"
        return 200, {"next": len(self.reports) + 1}

    def whats(self) -> list[str]:
        return [f"{each.what} {each.kind}".strip() for each in self.reports]


@dataclass
class Times:
    """The host's clocks. `wall` may be wrong; `ticks` go on as the test says."""

    wall: float = 1_795_000_000.0
    ticks: float = 1_000.0

    def go(self, seconds: float) -> None:
        self.wall, self.ticks = self.wall + seconds, self.ticks + seconds


@dataclass
class RecordedHost:
    """`recorder` turns when the test says so; `settings` are those that PAM's program reads."""

    folder: Path
    port: int
    host: Host
    portal: HeardPortal
    times: Times
    recorder: Recorder

    @property
    def settings(self) -> dict[str, Any]:
        return _settings(str(self.host.settings))

    @property
    def spooled(self) -> list[str]:
        return [json.loads(text)["what"] for text in self.recorder.spool.waiting().values()]

    def words(self, client: str, user: str, *more: str) -> list[str]:
        port = "-P" if client == "sftp" else "-p"
        known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes")
        return [client, "-F", "none", "-q", port, str(self.port), "-i", str(self.folder / "key"), *known, *more, f"{user}@127.0.0.1"]

    def ssh(self, command: str, user: str = "root", reason: str = "", *, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [*self.words("ssh", user, *(("-o", "SendEnv=KEYCHEST_REASON") if reason else ())), command]
        environ = os.environ | ({"KEYCHEST_REASON": reason} if reason else {})
        before = self.recorder.spool.last()
        done = subprocess.run(words, check=check, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        eventually(lambda: self.recorder.spool.last() >= before + 2)  # sshd ends after its client
        return done

    def sftp(self, user: str = "root") -> None:
        subprocess.run(self.words("sftp", user, "-b", "-"), input="pwd\n", check=True, capture_output=True, text=True, timeout=30)

    def begin(self, user: str = "root") -> subprocess.Popen[bytes]:
        """A session that stays open until its client ends."""
        client = subprocess.Popen(
            [*self.words("ssh", user), "echo in; sleep 600"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert client.stdout is not None
        assert client.stdout.read(3) == b"in\n"
        client.stdout.close()
        return client

    def until(self, *whats: str) -> None:
        """Turn until the portal has heard this, in this order and nothing else."""
        until = time.monotonic() + 15
        while self.portal.whats() != list(whats):
            assert time.monotonic() < until, (self.portal.whats(), self.spooled, (self.folder / "auth.log").read_text())
            self.turn()
            time.sleep(0.02)

    def heard(self, reports: int) -> None:
        """Turn until the portal has so many reports."""
        until = time.monotonic() + 15
        while len(self.portal.reports) < reports:
            assert time.monotonic() < until, (self.portal.whats(), self.spooled)
            self.turn()
            time.sleep(0.02)

    def turn(self, seconds: float = 1.0) -> None:
        self.times.go(seconds)
        self.recorder.turn()

    def again(self) -> None:
        """The recorder is killed, and starts anew."""
        self.recorder.end()
        self.recorder = Recorder(self.settings, lambda: self.times.wall, lambda: self.times.ticks)
        self.recorder.begin()


@contextmanager
def recorded_host(state: Path | None = None, pam: str = PAM) -> Iterator[RecordedHost]:
    """A host that is set up. `state`: where its key and spool lie, if not below its folder."""
    with folder_of_its_own() as folder, _server(folder, pam) as port:
        portal = HeardPortal(free_port())
        host = Host(NAME, portal.url, folder, sshd_log=str(folder / "auth.log"))
        if state is not None:
            host.state.parent.mkdir(parents=True)
            host.state.symlink_to(state)
        portal.public_key = make_state(host)
        write(changes(host), folder)
        times = Times()
        recorder = Recorder(_settings(str(host.settings)), lambda: times.wall, lambda: times.ticks)
        recorder.begin()
        recorder.observe()
        made = RecordedHost(folder, port, host, portal, times, recorder)
        with _sshd(folder, port):
            try:
                yield made
            finally:
                made.recorder.end()


@contextmanager
def _server(folder: Path, pam: str) -> Iterator[int]:
    for path in ("etc/ssh/sshd_config.d", "etc/pam.d"):
        (folder / path).mkdir(parents=True)
    for key in ("host_key", "key"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key), check=True, stdin=subprocess.DEVNULL)
    (folder / "etc/pam.d/sshd").write_text(pam)
    walker = f"{USER}:x:64321:64321::/nonexistent:/bin/sh\n"
    (folder / "etc/passwd").write_text(Path("/etc/passwd").read_text() + walker)
    port = free_port()
    (folder / "etc/ssh/sshd_config").write_text(_CONF.format(port=port, folder=folder))
    (folder / "auth.log").touch()
    yield port


@contextmanager
def _sshd(folder: Path, port: int) -> Iterator[None]:
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    sshd = program()
    assert sshd is not None
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _START, "sh", str(folder), sshd)
    with _syslog(folder), (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(server, port, folder / "sshd.log")
            yield
        finally:
            server.terminate()
            server.wait(20)


@contextmanager
def _syslog(folder: Path) -> Iterator[None]:
    """What a syslog daemon does: each line goes into auth.log, with the host's name before its words."""
    hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hearing.bind(str(folder / "log"))
    (folder / "log").chmod(0o666)

    def write_down() -> None:
        while line := hearing.recv(8_192):
            words = line.partition(b">")[2].rstrip(b"\0\n")
            with (folder / "auth.log").open("ab") as file:
                file.write(words[:15] + b" host " + words[16:] + b"\n")

    thread = threading.Thread(target=write_down)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(folder / "log"))
        thread.join()
        hearing.close()


def why_not() -> str:
    """Why this machine cannot be such a host; "" where it can."""
    if os.geteuid() != 0:
        return "only root may start an sshd that asks PAM"
    if program() is None:
        return "there is no sshd"
    if not any(Path("/lib").glob("*/security/pam_exec.so")) and not Path("/lib64/security/pam_exec.so").exists():
        return "there is no pam_exec"
    tried = subprocess.run(("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"), capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no mounts of one's own: {tried.stderr.decode().strip()}"


def need_host() -> None:
    if why := why_not():
        pytest.skip(why)
