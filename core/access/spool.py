"""Where a host keeps its reports until the portal has them, and for sixty days after: a portal that was restored asks for them again.

Every report has the next number, taken under a lock. A number is never given twice and never passed over: one whose report could not be
kept is told as lost. A full disk stops nothing of this: the counter and a reserve of 32 reports have their room from the beginning, and are
overwritten in place.

number              the newest number that was given
beat                the newest heartbeat's, the minutes that the recorder has run, and the newest number that was ever sent
place               how far the logs were read
reserve             reports for which there was no room
spool/N.json        a report that the portal does not have, as it is signed
sent/DAY/N.json     one that it has; DAY counts days of running, so that a wrong clock removes nothing
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.access.texts import instant, report

_SLOT, _SLOTS = 4_096, 32
_DAYS_KEPT = 60
_MINUTES = 1_440


class Fixed:
    """A file of one size, overwritten in place: it needs no room that it does not have already."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def make(self) -> None:
        """Take the room. What is there stays."""
        if not self.path.exists() or self.path.stat().st_size != self.size:
            part = self.path.with_suffix(".new")
            part.write_bytes((self.path.read_bytes() if self.path.exists() else b"").ljust(self.size)[: self.size])
            _flush(part)
            part.replace(self.path)

    def read(self) -> str:
        """What was written there last, without what fills it up."""
        return self.path.read_text(encoding="latin-1").strip()

    def write(self, words: str, at: int = 0, size: int = 0) -> None:
        """Write it, to the disk. Raises OSError."""
        handle = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(handle, words.encode("ascii").ljust(size or self.size), at)
            os.fsync(handle)
        finally:
            os.close(handle)


class Spool:
    """The reports of the host that is called `host`. `folder` is root's alone."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.host = folder, host
        self.number = Fixed(folder / "number", 32)
        self.beats = Fixed(folder / "beat", 64)
        self.place = Fixed(folder / "place", 4_096)
        self.reserve = Fixed(folder / "reserve", _SLOT * _SLOTS)
        self.sent: dict[int, Path] = {}

    def make(self) -> None:
        """Make what is not there, and take the room. Nothing that is there is changed."""
        for path in (self.folder, self.folder / "spool", self.folder / "sent"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = (self.folder / "number").exists()
        for fixed in (self.number, self.beats, self.place, self.reserve):
            fixed.make()
        if not known:
            self.number.write("0")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else gives numbers meanwhile."""
        with self.number.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def last(self) -> int:
        """The newest number that was given. Where the counter cannot be read: the newest that a report here has."""
        words = self.number.read()
        return int(words) if words.isdecimal() else max([0, *self.waiting(), *self.sent_there()])

    def add(self, now: float, what: str, **fields: str) -> int:
        """Keep a report under the next number; the number. Where there is no room at all, only that was taken: it is told as lost."""
        with self.locked():
            number = self.last() + 1
            self.number.write(str(number))
            self.keep(number, report(self.host, number, instant(now), what, fields))
        return number

    def keep(self, number: int, text: str) -> bool:
        """Keep this text on the disk, in a file of its own or in the reserve; whether there was room."""
        path = self._path(number)
        part = path.with_suffix(".part")
        try:
            part.write_text(text, encoding="ascii")
            _flush(part)
            part.replace(path)
            _flush(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            return self._in_reserve(text)
        return True

    def waiting(self) -> dict[int, str]:
        """Where each report is that was not moved to the sent ones: number to text, in order."""
        found = {number: text for _, number, text in self._reserved()}
        for path in (self.folder / "spool").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found[int(path.stem)] = path.read_text(encoding="ascii")
        return dict(sorted(found.items()))

    def wanted(self, first: int, last: int, now: float) -> list[str]:
        """The reports from `first` to `last`. For a number that is nowhere it is told, from now on, that its report is lost."""
        with self.locked():
            waiting = self.waiting()
            texts = []
            for number in range(first, last + 1):
                text = waiting.get(number) or self._sent(number)
                if text is None:
                    text = report(self.host, number, instant(now), "lost", {})
                    self.keep(number, text)
                texts.append(text)
        return texts

    def delivered(self, before: int, day: int) -> None:
        """The portal has all numbers before this one. What is in the reserve makes room for others, kept or not."""
        folder = self.folder / "sent" / str(day)
        for path in sorted((self.folder / "spool").glob("*.json")):
            if int(path.stem) < before:
                with contextlib.suppress(OSError):
                    folder.mkdir(mode=0o700, exist_ok=True)
                    self.sent[int(path.stem)] = path.replace(folder / path.name)
        for slot, number, text in self._reserved():
            if number < before:
                with contextlib.suppress(OSError):
                    folder.mkdir(mode=0o700, exist_ok=True)
                    (folder / f"{number:012d}.json").write_text(text, encoding="ascii")
                    self.sent[number] = folder / f"{number:012d}.json"
                self.reserve.write("", slot * _SLOT, _SLOT)

    def overtaken(self, wanted: int) -> None:
        """The portal has numbers that were never sent from here: this disk was put back to an older state. What was not sent moves up."""
        with self.locked():
            tried = self.tried
            up = wanted - (tried + 1)
            self.number.write(str(self.last() + up))
            for number, text in reversed(self.waiting().items()):
                if number > tried:
                    told = json.loads(text)
                    fields = {name: told[name] for name in told if name not in {"form", "host", "number", "at", "what"}}
                    self.keep(number + up, report(self.host, number + up, told["at"], told["what"], fields))
                    self._path(number).unlink(missing_ok=True)
            self.next_beat(sends=wanted - 1)

    @property
    def tried(self) -> int:
        """The newest number that was ever sent, whether or not an answer came."""
        return self._beats()[2]

    def next_beat(self, minutes: int = 0, least: int = 0, sends: int = 0) -> tuple[int, int]:
        """The next heartbeat's number, kept, `least` or more; and for how many days the recorder has run, `minutes` included.

        `sends`: the newest number that goes along with it.
        """
        beat, ran, tried = self._beats()
        beat, ran = max(beat + 1, least), ran + minutes
        self.beats.write(f"{beat} {ran} {max(tried, sends)}")
        return beat, ran // _MINUTES

    def _beats(self) -> tuple[int, int, int]:
        words = self.beats.read().split()
        return (int(words[0]), int(words[1]), int(words[2])) if len(words) == 3 else (0, 0, 0)  # noqa: PLR2004 - all

    def sent_there(self) -> dict[int, Path]:
        """Where each report is that the portal has; and parts of files that a killed recorder left are removed."""
        for part in (self.folder / "spool").glob("*.part"):
            part.unlink(missing_ok=True)
        self.sent = {int(path.stem): path for path in (self.folder / "sent").glob("*/*.json")}
        return self.sent

    def forget(self, day: int, still: set[int]) -> None:
        """Remove what was sent sixty days of running ago, but not the beginnings (`still`) of what is open."""
        for number, path in list(self.sent.items()):
            if int(path.parent.name) < day - _DAYS_KEPT and number not in still:
                path.unlink(missing_ok=True)
                del self.sent[number]
        for folder in (self.folder / "sent").iterdir():
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / "spool" / f"{number:012d}.json"

    def _sent(self, number: int) -> str | None:
        try:
            return self.sent[number].read_text(encoding="ascii")
        except (KeyError, OSError):
            return None

    def _reserved(self) -> list[tuple[int, int, str]]:
        """Slot, number and text of each report in the reserve. A slot that was torn holds none."""
        found = []
        whole = self.reserve.path.read_text(encoding="latin-1")
        for slot in range(_SLOTS):
            text = whole[slot * _SLOT : (slot + 1) * _SLOT].strip()
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told: dict[str, Any] = json.loads(text)
                found.append((slot, int(told["number"]), text))
        return found

    def _in_reserve(self, text: str) -> bool:
        taken = {slot for slot, _, _ in self._reserved()}
        for slot in range(_SLOTS):
            if slot not in taken and len(text) <= _SLOT:
                with contextlib.suppress(OSError):
                    self.reserve.write(text, slot * _SLOT, _SLOT)
                    return True
        return False


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
