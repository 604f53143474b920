"""pgBackRest's repository on another host: what has to run there runs there by ssh, with what pgBackRest's own configuration says of it.

pgBackRest 2.45 refuses `backup` and `expire` anywhere else, and `verify` from elsewhere loses its connection once there is a backup. All
other commands run on the database's host and dial by themselves. The host dials back to copy the database: its own configuration names
ours as pg1-host. We ask for no password, go to no host whose key is not known already, and carry no secret there.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.backups.engine import BackupError, Trouble
from core.backups.owner import Owner, Ran, run

RUN_THERE: Final = frozenset({"backup", "expire", "verify"})
"""Commands that work on no host but the repository's own."""
_SSH: Final = (
    "-T",  # no terminal
    "-a",  # nothing of ours is handed on: no agent
    "-x",
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    "-oConnectTimeout=20",
    "-oServerAliveInterval=30",  # `backup` says nothing for hours, and a host may vanish meanwhile
    "-oServerAliveCountMax=4",
    "-oLogLevel=ERROR",  # no banners among the words
)
_NOT_RUN: Final = frozenset({127, 255})
"""How ssh ends where the far shell finds no program, and where ssh itself failed; pgBackRest's own codes are others."""
_SSH_FAILED: Final = r"(?s)(ended with 255: |terminated unexpectedly \[255\])"
"""Before the words of ssh: of ours, and of the one that pgBackRest started."""

BY_SSH: Final[tuple[tuple[frozenset[int], str, Trouble, str], ...]] = (
    # as core.backups.pgbackrest_program.MEANINGS
    (
        frozenset(),
        rf"{_SSH_FAILED}.*Host key verification failed",
        "refused",
        "The host shows another key than known_hosts has for it, or known_hosts has none; nothing was sent to it",
    ),
    (frozenset(), rf"{_SSH_FAILED}.*Permission denied \(", "refused", "The host does not accept this user's key"),
    (frozenset(), _SSH_FAILED, "tool", "The host cannot be reached by ssh, or was lost on the way"),
    (
        frozenset(),
        r"ended with 127: |terminated unexpectedly \[127\]",
        "tool",
        "The host has no pgBackRest where it is looked for (repo1-host-cmd, pg1-host-cmd)",
    ),
    (
        frozenset({-signal.SIGSEGV}),
        r"",
        "tool",
        "pgBackRest crashed, as 2.45 does where the passphrase does not open a far repository (or both copies of its index are damaged)",
    ),
)
"""What ssh's words mean, in either direction: the words name the host."""


@dataclass(frozen=True, slots=True)
class RepositoryHost:
    """The host, and how pgBackRest is called there. `port` is "" where ssh's own configuration says it; `config`: options, () for none."""

    name: str
    user: str
    port: str
    ssh: str
    program: str
    config: tuple[str, ...]

    @classmethod
    def named(cls, said: Callable[[str, str], str]) -> RepositoryHost | None:
        """As the configuration says: `said` gives an option's value, or what is to stand for it. None where the repository has no host.

        Raises BackupError "refused" for a host that is reached by pgBackRest's own protocol over TLS, which runs no `backup`.
        """
        name = said("repo1-host", "")
        if not name:
            return None
        if (kind := said("repo1-host-type", "ssh")) != "ssh":
            words = f"The repository's host {name} is reached by {kind}, by which nobody can run `backup` there"
            raise BackupError("refused", f"{words}: set repo1-host-type=ssh. Nothing was done.")
        config = [(f"--{option}", said(f"repo1-host-{option}", "")) for option in ("config", "config-path", "config-include-path")]
        return cls(
            name=name,
            user=said("repo1-host-user", "pgbackrest"),
            port=said("repo1-host-port", ""),
            ssh=said("cmd-ssh", "ssh"),
            program=said("repo1-host-cmd", "pgbackrest"),
            config=tuple(f"{option}={value}" for option, value in config if value),
        )

    def there(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs `argv` there. What the far shell reads is quoted."""
        port = ("-p", self.port) if self.port else ()
        return (self.ssh, *_SSH, *port, "-l", self.user, "--", self.name, shlex.join(argv))

    def run(self, owner: Owner, argv: Sequence[str], *, within_s: float) -> Ran:
        """Run a program there to its end, with the keys that `owner` has here. Raises BackupError as `core.backups.owner.run`."""
        ran = run(owner, self.there(argv), within_s=within_s)
        return replace(ran, err=f"ssh to {self.user}@{self.name} ended with {ran.code}: {ran.err}") if ran.code in _NOT_RUN else ran
