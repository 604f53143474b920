"""One process that starts the others, starts again what dies, stops them in order, and leaves nothing behind.

Single-threaded on purpose: children are forked from the main thread, whose end is what PR_SET_PDEATHSIG watches.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from cli import forked, logs
from core import lifeline

FIRST_DELAY_S = 0.5
LAST_DELAY_S = 30.0
WELL_AFTER_S = 60.0
_LOOK_S = 60.0  # between two looks at the size of the logs


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running: secrets go by environment, never by `argv`, which everybody can read.

    `module`: one of ours, whose `main(argv)` runs in a fork of this process; "": `argv` is a program of its own.
    """

    name: str
    argv: tuple[str, ...]
    stop_s: float  # patience between SIGTERM and SIGKILL
    orphaned_by: signal.Signals = signal.SIGKILL
    keep_fds: tuple[int, ...] = ()
    module: str = ""


@dataclass(slots=True)
class _Running:
    child: Child
    process: subprocess.Popen[bytes] | forked.Forked | None = None
    started_at_s: float = 0.0
    again_at_s: float = 0.0
    delay_s: float = 0.0
    log_since_byte: int = 0  # where the log stood when the process was started


@dataclass(slots=True)
class Supervisor:
    """Runs `stages` of children: started in this order, stopped in the reverse one, each stage ended before the next."""

    stages: Sequence[Sequence[Child]]
    environment: Mapping[str, str]
    log_folder: Path
    say: Callable[[str], None]
    first_delay_s: float = FIRST_DELAY_S
    _running: dict[str, _Running] = field(default_factory=dict)
    _signals: int = 0

    def start(self, stage: Sequence[Child]) -> None:
        """Start one stage. `run` starts what is not started yet."""
        for child in stage:
            if child.name not in self._running:
                logs.trim(self._log(child))
                self._running[child.name] = _Running(child, delay_s=self.first_delay_s)
                self._start(self._running[child.name])

    def ended(self, child: Child) -> bool:
        """Whether a started child has ended, for those who wait until it answers."""
        process = self._running[child.name].process
        return process is None or process.poll() is not None

    def run(self) -> None:
        """Keep all children running until SIGINT, SIGTERM or SIGHUP comes, then stop them in order."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            forked.prepare([child.module for stage in self.stages for child in stage if child.module])
            for stage in self.stages:
                self.start(stage)
            look_at_s = time.monotonic() + _LOOK_S
            while not self._signals:
                self._tend(time.monotonic())
                if time.monotonic() > look_at_s:
                    look_at_s += _LOOK_S
                    for running in self._running.values():
                        if logs.trim(self._log(running.child)):
                            running.log_since_byte = 0
                select.select([reader], [], [], self._pause_s(time.monotonic()))
                with contextlib.suppress(BlockingIOError):
                    os.set_blocking(reader, False)
                    os.read(reader, 4096)
            self.stop()
        finally:
            signal.set_wakeup_fd(-1)
            os.close(reader)
            os.close(writer)

    def listen(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP as a wish to stop. A second one ends the patience."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only wakes the loop

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._signals > 0

    def stop(self) -> None:
        """Stop stage by stage, the last started first: SIGTERM, patience, SIGKILL."""
        for stage in reversed(self.stages):
            live = [running for child in stage if (running := self._running.get(child.name)) and running.process]
            if live:
                self.say(f"Stopping: {', '.join(running.child.name for running in live)}.")
            for running in live:
                _send(running, signal.SIGTERM)
            began = time.monotonic()
            for running in live:
                self._wait(running, began + running.child.stop_s)

    def _wait(self, running: _Running, end: float) -> None:
        while running.process and running.process.poll() is None:
            if time.monotonic() > end or self._signals > 1:
                self.say(f"{running.child.name} did not end in time and was killed. Unfinished work is handed out again.")
                _send(running, signal.SIGKILL)
                running.process.wait()
            time.sleep(0.02)
        running.process = None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _start(self, running: _Running) -> None:
        child = running.child
        with self._log(child).open("ab") as log:
            running.log_since_byte = log.tell()
            running.process = self._forked(child, log) if child.module else self._spawned(child, log)
        running.started_at_s = time.monotonic()

    def _forked(self, child: Child, log: BinaryIO) -> forked.Forked:
        return forked.Forked(
            child.module,
            child.argv,
            title=f"keychest: {child.name} of {self.log_folder.parent}",
            environment=self.environment,
            log=log,
            keep_fds=child.keep_fds,
            orphaned_by=child.orphaned_by,
        )

    def _spawned(self, child: Child, log: BinaryIO) -> subprocess.Popen[bytes]:
        # Own session: Ctrl-C in the terminal reaches the supervisor alone, so that the order of the stop is ours.
        me = os.getpid()
        return subprocess.Popen(  # noqa: S603 - the words are ours
            child.argv,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=child.keep_fds,
            preexec_fn=lambda: lifeline.end_with(me, child.orphaned_by),  # noqa: PLW1509 - no threads here
        )

    def _tend(self, now_s: float) -> None:
        for running in self._running.values():
            if running.process is None:
                if now_s >= running.again_at_s:
                    self._start(running)
            elif (code := running.process.poll()) is not None:
                if now_s - running.started_at_s >= WELL_AFTER_S:
                    running.delay_s = self.first_delay_s
                running.process, running.again_at_s = None, now_s + running.delay_s
                self.say(f"{running.child.name} ended ({_reason(code)}). It is started again in {running.delay_s:g} s.")
                for line in logs.tail(self._log(running.child), running.log_since_byte):
                    self.say(f"  {running.child.name}: {line}")
                running.delay_s = min(running.delay_s * 2, LAST_DELAY_S)

    def _pause_s(self, now_s: float) -> float:
        waits = [running.again_at_s - now_s for running in self._running.values() if running.process is None]
        return max(0.0, min([1.0, *waits]))

    def _log(self, child: Child) -> Path:
        return self.log_folder / f"{child.name}.log"


def _send(running: _Running, number: signal.Signals) -> None:
    if running.process:
        running.process.send_signal(number)  # does nothing when it has ended and was waited for


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
