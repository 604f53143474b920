"""What PAM starts as a session is opened and closed: one numbered report is kept, and nobody waits for it.

A child does the work. PAM waits for it 1.5 seconds at most, and is told that all is well whatever became of it. Where the disk is slow the
child goes on alone; a number without a report is told as lost.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
from collections.abc import Mapping
from pathlib import Path

from core.access.kernel import boot_id, session_name, started
from core.access.spool import Spool
from core.access.texts import MOST_NAME, plain

_WAITS_S = 1.5
_CHILD_S = 60


def note(folder: Path, host: str, environ: Mapping[str, str], now: float) -> None:
    """Keep the report of what PAM tells in its environment of the process that started this one."""
    if environ.get("PAM_TYPE") not in {"open_session", "close_session"}:
        return
    sshd = os.getppid()
    start = started(sshd)
    if start is None:
        return
    session = session_name(boot_id(), sshd, start)
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
            signal.alarm(_CHILD_S)
            _keep(Spool(folder, host), session, environ, now)
        finally:
            os._exit(0)
    os.close(writing)
    select.select([reading], [], [], _WAITS_S)  # it is closed by the child's end


def _keep(spool: Spool, session: str, environ: Mapping[str, str], now: float) -> None:
    if environ["PAM_TYPE"] == "close_session":
        spool.add(now, "closed", session=session)
        return
    user = environ.get("PAM_USER", "")
    names = {"user": plain(user, MOST_NAME), "from": plain(environ.get("PAM_RHOST", ""), MOST_NAME)}
    spool.add(now, "opened", session=session, kind="ssh", role=_role(user), **names)


def _role(user: str) -> str:
    try:
        return "administrator" if pwd.getpwnam(user).pw_uid == 0 else "user"
    except KeyError:
        return "user"
