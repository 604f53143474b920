"""A real OpenSSH server on loopback: its own folder, keys and port; ended by pid.

with running_sshd(folder) as server:                                # files anywhere that the tests' user may write
    server.url(tmp_path / "backups")
with running_sshd(folder, "-P remove,rmdir") as server:             # as internal-sftp(8) takes it
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from tests.postgres import free_port

_CONF = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
UseDNS no
Subsystem sftp internal-sftp {options}
ForceCommand internal-sftp {options}
"""


def program() -> str | None:
    """The server program; None where it is not installed."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server, and in `folder` what is needed to enter: key, other_key (which nobody knows) and known_hosts."""

    port: int
    folder: Path

    def url(self, place: Path | str, *, port: int = 0, key: str = "key", known_hosts: str = "known_hosts") -> str:
        """The address of a folder there; `port` of something in between."""
        where = f"sftp://{getuser()}@127.0.0.1:{port or self.port}/{str(place).lstrip('/')}"
        return f"{where}?key={self.folder / key}&known_hosts={self.folder / known_hosts}"


@contextmanager
def running_sshd(folder: Path, options: str = "") -> Iterator[Sshd]:
    """A server in `folder`, which is made. Its client's known_hosts holds its key for every port of 127.0.0.1, and no other's."""
    sshd = program()
    assert sshd is not None, "ask program() first"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "key", "other_key"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    for name, of in (("known_hosts", "host_key"), ("other_known_hosts", "other_key")):
        (folder / name).write_text(f"127.0.0.1,[127.0.0.1]:* {(folder / of).with_suffix('.pub').read_text()}")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself in before anybody has entered
    port = free_port()
    conf = folder / "sshd_config"
    conf.write_text(_CONF.format(port=port, folder=folder, options=options))
    for line in ("PerSourcePenalties no",):  # newer ones shut out who failed: here everybody is one address
        if subprocess.run([sshd, "-t", "-f", conf, "-o", line], capture_output=True, check=False).returncode == 0:
            conf.write_text(f"{line}\n{conf.read_text()}")
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(server, port, folder / "sshd.log")
            yield Sshd(port, folder)
        finally:
            server.terminate()
            server.wait(20)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert server.poll() is None, f"sshd ended as it started: {log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("sshd did not answer")
