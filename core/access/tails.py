"""Logs, read from where the last reading ended: a file that is rotated meanwhile, or systemd's journal.

A `place` says how far was read, in a few words that are kept; "" where nothing ever was: then reading begins at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

_AT_ONCE = 1_000_000
_MOST_LINE = 65_536
JOURNAL = "journal"


class FileTail:
    """Whole lines of a file. After a rotation the rest of the old file is read first, also where it happened between two runs."""

    def __init__(self, path: Path, place: str) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        words = place.split()
        self._begins = (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdecimal() for word in words) else None  # noqa: PLR2004 - both
        self._fresh = not place

    @property
    def place(self) -> str:
        """The file's number and how far it was read."""
        return f"{os.fstat(self._file.fileno()).st_ino} {self._file.tell()}" if self._file else ""

    def lines(self) -> list[str]:
        """What was written since, a million bytes at most. A file that is not there, or not readable, has none."""
        with contextlib.suppress(OSError):
            if self._file is None:
                self._open()
            found = self._whole_lines()
            return found or (self._whole_lines() if self._follow() else [])
        return []

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        if self._fresh:
            self._file = self.path.open("rb")
            self._file.seek(0, os.SEEK_END)
        else:
            self._file = next(self._left(), None) or self.path.open("rb")
        self._fresh = False

    def _left(self) -> Iterator[BinaryIO]:
        """The file that was read last, where it still is: under its name or, rotated, under the next one."""
        for path in (self.path, self.path.with_name(f"{self.path.name}.1")):
            if self._begins and path.exists() and path.stat().st_ino == self._begins[0] and path.stat().st_size >= self._begins[1]:
                file = path.open("rb")
                file.seek(self._begins[1])
                yield file

    def _whole_lines(self) -> list[str]:
        assert self._file is not None  # noqa: S101 - `lines` opened it
        begins = self._file.tell()
        read = self._file.read(_AT_ONCE)
        end = read.rfind(b"\n") + 1 or (len(read) if len(read) >= _MOST_LINE else 0)
        self._file.seek(begins + end)
        return read[:end].decode("utf-8", "replace").splitlines()

    def _follow(self) -> bool:
        """Whether another file is to be read from now on: a new one of that name, or this one from its beginning, since it was cut."""
        assert self._file is not None  # noqa: S101 - as above
        if self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
            self._file.close()
            self._file = self.path.open("rb")
            return True
        if self.path.stat().st_size < self._file.tell():
            self._file.seek(0)
            return True
        return False


class SshdTail:
    """What sshd wrote into a log file by syslog: process and words."""

    def __init__(self, path: Path, place: str, service: str) -> None:
        self._tail = FileTail(path, place)
        self._line = re.compile(rf"(?:[A-Z][a-z][a-z] [ \d]\d \S+|\S+) \S+ (?:sshd|sshd-session|{re.escape(service)})\[(\d+)\]: (.*)")

    @property
    def place(self) -> str:
        """As FileTail has it."""
        return self._tail.place

    def close(self) -> None:
        """Read no more."""
        self._tail.close()

    def told(self) -> list[tuple[int, str]]:
        """What sshd's processes told since."""
        found = [self._line.match(line) for line in self._tail.lines()]
        return [(int(each[1]), each[2]) for each in found if each]


class JournalTail:
    """What sshd wrote into systemd's journal. The process is the one that the kernel named, not one that the line claims."""

    def __init__(self, place: str, names: Sequence[str]) -> None:
        self.place = place
        self._names = names
        self._lines: queue.Queue[bytes] = queue.Queue(10_000)
        self._reading: threading.Thread | None = None
        self._running: subprocess.Popen[bytes] | None = None

    def told(self) -> list[tuple[int, str]]:
        """What sshd's processes told since. A journalctl that ended is started again from there."""
        if self._reading is None or not self._reading.is_alive():
            self._reading = threading.Thread(target=self._read, daemon=True)
            self._reading.start()
        found: list[tuple[int, str]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    told = json.loads(self._lines.get_nowait())
                    self.place = str(told["__CURSOR"])
                    found.append((int(told["_PID"]), str(told["MESSAGE"])))
        return found

    def close(self) -> None:
        """Read no more."""
        if self._running is not None:
            self._running.terminate()

    def _read(self) -> None:
        since = (f"--after-cursor={self.place}",) if self.place else ("-n", "0")
        names = [word for name in dict.fromkeys(("sshd", "sshd-session", *self._names)) for word in ("-t", name)]
        words = ("/usr/bin/journalctl", "-q", "-f", "-o", "json", "--no-pager", *since, *names)
        with contextlib.suppress(OSError), subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:  # noqa: S603 - the system's
            self._running = running
            for line in running.stdout or ():
                self._lines.put(line)
