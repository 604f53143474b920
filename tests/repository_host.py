"""Two hosts in one folder on loopback: two configurations of pgBackRest, and a real sshd between them, in both directions."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import pgbackrest, sshd
from tests.pgbackrest import Cluster
from tests.processes import eventually

_SSHD = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
"""
CLIENT = "IdentityFile {folder}/key\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\n"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two hosts that are one: `cluster.config` is the one of the database's host, `far` the other's."""

    cluster: Cluster
    folder: Path
    port: int
    far: Path

    def calls(self) -> list[list[str]]:
        """The words of every ssh so far."""
        return [shlex.split(line) for line in (self.folder / "calls").read_text().splitlines()]

    @contextmanager
    def with_file(self, name: str, content: str) -> Iterator[None]:
        """One of ssh's files as something else for as long as the block runs."""
        path = self.folder / name
        before = path.read_text()
        path.write_text(content)
        try:
            yield
        finally:
            path.write_text(before)

    def known_hosts(self, key: str) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / key).with_suffix('.pub').read_text()}"


def user() -> str:
    return "postgres" if os.getuid() == 0 else str(Path.home().owner())


def as_user() -> dict[str, str | list[int]]:
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


def give(path: Path, mode: int) -> None:
    path.chmod(mode)
    pgbackrest.give(path)


@contextmanager
def running_sshd(folder: Path, port: int) -> Iterator[None]:
    """A server in `folder` whose logins may run what they like: as the database's user, who is the only one it lets in."""
    for name in ("host_key", "key", "other_key"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
        give(folder / name, 0o600)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(_SSHD.format(folder=folder, port=port))
    program = sshd.program()
    assert program is not None, "the fixture asks"
    words = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_user())  # type: ignore[call-overload]
        try:
            eventually(lambda: "Server listening" in (folder / "log").read_text())
            yield
        finally:
            server.terminate()
            server.wait(20)


def apart(cluster: Cluster, folder: Path, port: int) -> Hosts:
    """What was one configuration becomes two, each of which names the other's host."""
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
    (folder / "calls").touch()
    give(folder / "calls", 0o600)
    ssh = folder / "ssh"  # pgBackRest's cmd-ssh is a program without options of its own
    ssh.write_text(f'#!/bin/bash\necho "${{*@Q}}" >> {folder}/calls\nexec ssh -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    whole, far = cluster.config.read_text(), folder / "far side.conf"  # what a shell would take apart
    cluster.make(folder / "lock")
    back = f"pg1-host=127.0.0.1\npg1-host-user={user()}\npg1-host-port={port}\npg1-host-config={cluster.config}\n"
    far.write_text(f"{whole}{back}".replace(f"lock-path={cluster.folder}/lock", f"lock-path={folder}/lock\ncmd-ssh={ssh}"))
    give(far, 0o600)
    near = "".join(line for line in whole.splitlines(keepends=True) if not line.startswith(("repo1-path", "repo1-bundle")))
    there = f"repo1-host=127.0.0.1\nrepo1-host-user={user()}\nrepo1-host-port={port}\nrepo1-host-config={far}\ncmd-ssh={ssh}\n"
    cluster.config.write_text(near.replace("[global]\n", f"[global]\n{there}"))
    return Hosts(cluster, folder, port, far)
