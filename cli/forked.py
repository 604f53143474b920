"""A child that is forked from this process rather than started as a program of its own.

What it needs is imported once, here, and its pages are shared: an installation of six processes starts in less than half the time, and
holds little more than half the memory (decision 0013 has the figures). The price: all of them run the code that was there when `up` was
started, until it is started again.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from setproctitle import setproctitle

from core import lifeline

_log = logging.getLogger("keychest.child")
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def prepare(modules: Sequence[str]) -> None:
    """Import what children will run, and what each says in its own `prepare()`, before the first of them is forked."""
    for name in dict.fromkeys(modules):
        module = importlib.import_module(name)
        if hasattr(module, "prepare"):
            module.prepare()
    gc.collect()
    gc.freeze()  # a child that looked through all of this for cycles would copy its pages


class Forked:
    """A live child that runs `module.main(words)`; what it returns is its exit code. Asked like a subprocess.Popen.

    Fork from the main thread of a process without other threads. The child has a session, an environment and open files of its own:
    of ours it keeps `keep_fds`, and it writes to `log`. It ends by signal `orphaned_by` when this process does.
    """

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        *,
        title: str,
        environment: Mapping[str, str],
        log: BinaryIO,
        keep_fds: Sequence[int] = (),
        orphaned_by: signal.Signals = signal.SIGKILL,
    ) -> None:
        parent, said, environment = os.getpid(), log.fileno(), dict(environment)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # one that comes now is the child's only when it can take it
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                lifeline.end_with(parent, orphaned_by)
                _become(title, environment, said, keep_fds)
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
                code = importlib.import_module(module).main(list(words))
            except SystemExit as asked:
                code = asked.code
            except BaseException:  # noqa: BLE001 - nothing may go up from here: those are the parent's own frames
                _log.exception("This process ends by what it was not written for.")
                code = 1
            _end(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def poll(self) -> int | None:
        """Its exit code, less than 0 where a signal ended it; None while it lives."""
        if self._code is None:
            self._look(os.WNOHANG)
        return self._code

    def wait(self) -> int | None:
        """Its exit code, once it has ended."""
        if self._code is None:
            self._look(0)
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal to it, unless it is known to have ended: its number may be another's then."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _look(self, how: int) -> None:
        pid, status = os.waitpid(self.pid, how)
        if pid:
            self._code = os.waitstatus_to_exitcode(status)


def _become(title: str, environment: Mapping[str, str], log: int, keep_fds: Sequence[int]) -> None:
    """Give back what is the parent's: session, signals, files, environment, name."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in _OURS:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs, inheritable=True)
    for opened in [int(each.name) for each in Path("/dev/fd").iterdir()]:
        if opened not in {0, 1, 2, *keep_fds}:
            with contextlib.suppress(OSError):  # by which the folder was read
                os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (open(each, mode, buffering=1, closefd=False) for each, mode in enumerate("rww"))  # noqa: SIM115 - for the rest of its life
    setproctitle(title)  # before the environment is another: it lies where the title is written, and is looked for there
    os.environ.clear()
    os.environ.update(environment)


def _end(code: object) -> NoReturn:
    """End as Python would for this exit code, without what the parent has asked for at its own end."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
