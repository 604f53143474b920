"""The status feed of this installation, turn by turn: measure, let the watchdog look, and put the feed's files where they are read.

What does not answer is told as such. Nothing here waits longer than a few seconds for anything that it measures.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from audit.activity_file import activity_file
from audit.published import UnreadableError
from audit.reading import Folder
from cli.shell import is_gone
from core.actions.access import close_shell, note_silent_hosts
from core.actions.heartbeats import beat
from core.actions.policy import Actor
from core.actions.watchdog import watch_public_incidents
from core.net.provider import Tls, Unanswered, ask
from core.patience import within
from core.status import looking
from core.status.codec import decode
from core.status.entries import Index
from core.status.faults import faults_of
from core.status.files import ITSELF, files_of
from core.status.gathering import Asked, Place, placed, told_now, told_without
from core.status.gathering import ask as ask_all
from core.status.measuring import Measured, Probe, Samples, a_day_ago, keep_samples, keep_tally, measure, read_samples, read_tally, sampled
from core.status.mirror import MirrorError, mirror
from core.status.placing import log_files, put_files, put_to
from core.status.told import SeenLog, Told
from core.status.watching import REASONS
from core.store.access import changed_at as access_changed_at
from core.store.access import open_shells
from core.store.db import Sessions
from core.store.public_incidents import changed_at as incidents_changed_at
from core.targets import Target, TargetError

PATIENCE_S: Final = 10.0
SLOW_S: Final = 2.0
PUBLIC: Final = "public"
_BY_ASKING: Final = "by asking it for a page, from a process of its own"
_WORKER: Final = Actor(worker=True)
log = logging.getLogger("keychest.status")


@dataclass
class Feed:
    """The feed's maker. `folder`: where what was measured is kept, and below it PUBLIC; `alone`: whether nobody else measures.

    `delay`: until what the watchdog noticed becomes public. `began`: the first turn's time. `targets` and `folders`: where else the
    files go; `there`: what each target has by now.
    """

    sessions: Sessions
    folder: Path
    index: Index
    place: Place
    longest_age: timedelta
    delay: timedelta
    tls: Tls
    alone: bool = True
    targets: Sequence[Target] = ()
    folders: Sequence[Path] = ()
    tally: dict[str, Measured] = field(default_factory=dict)
    samples: Samples = ()
    last: Told | None = None
    there: dict[str, dict[str, str]] = field(default_factory=dict)
    marks: tuple[datetime | None, datetime | None] | None = None
    began: datetime | None = None
    reasons: bytes = b""
    putting: threading.Thread | None = None

    @property
    def public(self) -> Path:
        """Where the files are that the portal serves."""
        return self.folder / PUBLIC

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether nobody else makes this feed until the block ends. Raises OSError."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def load(self) -> None:
        """What was kept. Raises OSError, ValueError for what is damaged."""
        self.public.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.tally = read_tally(self.folder / "measured.json")
        self.samples = read_samples(self.folder / "scans.json")
        self.last = self._last()

    def _last(self) -> Told | None:
        """What was told last; None where nothing was, or by another version."""
        try:
            return decode((self.public / ITSELF).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("What was told last cannot be read and is not needed: %s", error)
            return None

    def changed(self) -> bool:
        """Whether an incident or an access changed since this was asked last."""
        marks = within(self._marks, PATIENCE_S)
        before, self.marks = self.marks, marks or self.marks
        return marks is not None and before is not None and marks != before

    def turn(self, now: datetime) -> Told:
        """Measure, look, tell. Raises OSError where the files cannot be put."""
        self.began = self.began or now
        head = self._head()
        asked = within(lambda: self._asked(now), PATIENCE_S)
        if self.alone:
            self.tally = measure(self.tally, self._seen(asked, head), now)
        told = self._told(asked, head, now)
        if asked is not None and self.alone and within(lambda: self._watched(told, now), PATIENCE_S):
            asked = within(lambda: self._asked(now), PATIENCE_S)
            told = self._told(asked, head, now)
        self.last = told
        self._keep()
        self.reasons = self._opened(asked)
        put_files(self.public, self.files(told))
        self._publish(told)
        return told

    def files(self, told: Told) -> dict[str, bytes]:
        """The feed's files, and what opens the reasons of accesses."""
        return files_of(told) | ({REASONS: self.reasons} if self.reasons else {})

    def _opened(self, asked: Asked | None) -> bytes:
        """A file that `python -m audit open` checks; as it was where the database does not answer."""
        if asked is None:
            return self.reasons
        told = activity_file(asked.reasons, self.index.logs, lambda number: asked.keys.get(number, ()))
        return json.dumps(told, indent=1).encode()

    def look_only(self, now: datetime) -> Told:
        """What is so now, by what others measured. Nothing is kept."""
        self.load()
        head = self._head()
        asked = within(lambda: self._asked(now), PATIENCE_S)
        self.reasons = self._opened(asked)
        return self._told(asked, head, now)

    def put(self, told: Told, folder: Path) -> int:
        """The whole feed, the logs too, in another folder; how many files said something new. Raises OSError, MirrorError."""
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        return mirror(Folder(self.index.folder), folder / "log") + put_files(folder, self.files(told))

    def put_at(self, told: Told, target: Target) -> int:
        """As `put`, at a target. Raises TargetError, OSError."""
        there = self.there.setdefault(target.shown, {})
        tiles = log_files(self.index.folder, there)
        first = put_to(target, {name: tiles[name] for name in tiles if "/tile/" in name}, there)
        return first + put_to(target, tiles | self.files(told), there)

    def _asked(self, now: datetime) -> Asked | None:
        try:
            if self.alone:
                with self.sessions.writing() as session:
                    beat(session, "status", pid=os.getpid(), now=now)
                    note_silent_hosts(session, _WORKER, now=now)
                    for ref, place in open_shells(session):
                        if is_gone(place):
                            close_shell(session, _WORKER, ref=ref, ending="lost", now=now)
            with self.sessions.reading() as session:
                return ask_all(session, looking.look(session, now), self.index)
        except SQLAlchemyError as error:
            log.warning("The database does not answer: %s", type(error).__name__)
            return None

    def _watched(self, told: Told, now: datetime) -> bool:
        """Whether the watchdog looked."""
        try:
            with self.sessions.writing() as session:
                watch_public_incidents(session, _WORKER, faults_of(told), delay=self.delay, now=now)
        except SQLAlchemyError:
            log.exception("The watchdog could not look. It looks again with the next turn.")
            return False
        return True

    def _marks(self) -> tuple[datetime | None, datetime | None] | None:
        try:
            with self.sessions.reading() as session:
                return access_changed_at(session), incidents_changed_at(session)
        except SQLAlchemyError:
            return None

    def _head(self) -> SeenLog | None:
        try:
            return self.index.read_on()
        except UnreadableError as error:
            log.warning("The published log cannot be read: %s", error)
            return None

    def _seen(self, asked: Asked | None, head: SeenLog | None) -> dict[str, Probe]:
        seen = {"portal": self._portal()}
        if asked is None:
            waits = "Nothing is done: the database does not answer."
            seen |= {"database": Probe("down", "The database does not answer.", looking.BY_WRITING)}
            return seen | {key: Probe("down", waits, looking.BY_BOOK) for key in ("scanning", "notifications")}
        found = asked.looked
        began = self.began or found.at
        return seen | {
            "database": Probe("ok", "It stores and gives back.", looking.BY_WRITING),
            "scanning": looking.scanning(found, began),
            "notifications": looking.notifications(found, began),
            "backups": looking.proofs(found, self.longest_age),
            "log": looking.the_log(found, head.logged_at if head else None),
        }

    def _portal(self) -> Probe:
        began = time.monotonic()
        try:
            answer = ask(f"{self.place.address}/healthz", tls=self.tls)
        except Unanswered:
            return Probe("down", "No page is served.", _BY_ASKING)
        if answer.status not in {200, 503}:
            return Probe("down", f"Pages are answered by {answer.status}.", _BY_ASKING)
        if time.monotonic() - began > SLOW_S:
            return Probe("late", "Pages take longer than two seconds.", _BY_ASKING)
        return Probe("ok", "Pages are served.", _BY_ASKING)

    def _told(self, asked: Asked | None, head: SeenLog | None, now: datetime) -> Told:
        if asked is None:
            return placed(told_without(self.last, self.tally, head, now), self.place)
        self.samples = sampled(self.samples, asked.looked.made, now)
        before = a_day_ago(self.samples, asked.looked.made)
        return placed(told_now(asked, self.tally, head, (self.index.accesses, self.index.drills), before), self.place)

    def _keep(self) -> None:
        if self.alone:
            keep_tally(self.folder / "measured.json", self.tally)
            keep_samples(self.folder / "scans.json", self.samples)

    def _publish(self, told: Told) -> None:
        for folder in self.folders:
            try:
                self.put(told, folder)
            except (MirrorError, OSError) as error:
                log.warning("The feed could not be put to %s: %s It is tried again in a minute.", folder, error)
        if self.targets and (self.putting is None or not self.putting.is_alive()):  # slow ones hold up no measurement
            self.putting = threading.Thread(target=self._put_to_targets, args=(told,), daemon=True, name="targets")
            self.putting.start()

    def _put_to_targets(self, told: Told) -> None:
        for target in self.targets:
            try:
                self.put_at(told, target)
            except (TargetError, OSError) as error:
                log.warning("The feed could not be put to %s: %s It is tried again in a minute.", target.shown, error)
