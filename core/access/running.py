"""What `keychest-access run` does: it adds what the logs say, signs everything, and brings it to the portal in order."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.access.delivery import MOST_AT_ONCE, Courier, NotTakenError
from core.access.kernel import boot_id
from core.access.said import Listener
from core.access.sessions import Sessions
from core.access.spool import Spool
from core.access.tails import JOURNAL, FileTail, JournalTail, SshdTail
from core.access.texts import FORM, instant, spelled

BEAT_S = 60.0
_MOST_WAIT_S = 60.0
_LOG_WAITS_S = 10.0
log = logging.getLogger("keychest-access")


class Recorder:
    """What `run` does, turn by turn. `clock` tells the time of day, which may be wrong; `ticks` never goes back."""

    def __init__(
        self, settings: Mapping[str, Any], clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.ticks = clock, ticks
        folder, self.host = Path(settings["folder"]), settings["host"]
        self.boot = boot_id()
        self.spool = Spool(folder, self.host)
        self.courier = Courier(folder, self.host, settings["portal"])
        self.sessions = Sessions(self.boot, settings["superusers"])
        self.listener = Listener(Path(settings["socket"]), self.boot)
        places = _read_places(self.spool.place.read())
        self._tail = _sshd_tail(settings["sshd_log"], places.get("sshd", ""), settings["service"])
        self._postgresql = FileTail(Path(settings["postgresql_log"]), places.get("postgresql", "")) if settings["postgresql_log"] else None
        self._unclear: list[tuple[float, int, str]] = []
        self._wanted = 0  # the number that the portal wants next: it says so at the first heartbeat
        self._beat_due = self._minute = self.ticks()
        self._least_beat = 0
        self._wait_s, self._not_before = 0.0, self.ticks()
        self._day = 0

    def begin(self) -> None:
        """Read what is kept, and listen. Raises OSError."""
        sent = self.spool.sent_there()
        for number in sorted(sent):
            self.sessions.learn(sent[number].read_text(encoding="ascii"))
        self.sessions.settle()
        self.listener.begin()

    def end(self) -> None:
        """Let go of socket and logs."""
        self.listener.end()
        self._tail.close()
        if self._postgresql:
            self._postgresql.close()

    def turn(self) -> None:
        """Once a second: note what is new, and deliver what waits."""
        self.observe()
        if self.ticks() >= self._not_before and (self.ticks() >= self._beat_due or self._behind()):
            self.deliver()

    def observe(self) -> None:
        """Take notice of new reports, logs, reasons, and sessions whose sshd is gone."""
        dead = self.sessions.dead()  # before what is new is read: what closed by itself has its report there
        said = self.listener.taken()
        logged = [(self.ticks(), *each) for each in self._tail.told()]
        self._learn()
        for name in dead:
            if name in self.sessions.open:
                self._add("closed", session=name)
        self._learn()
        self._unclear = [each for each in (*self._unclear, *logged) if not self._clear(*each)]
        for line in self._postgresql.lines() if self._postgresql else ():
            self.sessions.of_postgresql(line, self._add)
        for each in said:
            self.sessions.said(each.sessions, each.reason, self._add)
        self._learn()
        self._keep_places()

    def deliver(self) -> None:
        """A heartbeat, and up to fifty reports, again and again until the portal has all. What goes wrong is told and tried again later."""
        try:
            self._exchange()
            while self._behind():
                self._exchange()
        except NotTakenError as error:
            self._refused(error)
        else:
            self._wait_s, self._beat_due = 0.0, self.ticks() + BEAT_S

    def _exchange(self) -> None:
        """One delivery. Raises NotTakenError."""
        last, before = self.sessions.seen, self._wanted
        texts = self.spool.wanted(before, min(last, before + MOST_AT_ONCE - 1), self.clock()) if before else []
        wanted = self.courier.deliver(self._beat(last, before + len(texts) - 1), texts)
        if texts and wanted == before:
            raise NotTakenError(f"The portal answered that it has them, and wants number {before} again. All is kept.")
        self._has(wanted)

    def _has(self, wanted: int) -> None:
        """The portal has everything before this number."""
        if wanted > self.spool.tried + 1:
            log.warning(
                "The portal has numbers up to %d, which were not sent from this disk: it is an older state. They go on.", wanted - 1
            )
            self.spool.overtaken(wanted)
            self._learn()
        else:
            self.spool.delivered(wanted, self._day)
        self._wanted = wanted

    def _refused(self, error: NotTakenError) -> None:
        log.warning("%s", error)
        if error.next > self.spool.tried + 1:
            self._has(error.next)
        self._wanted, self._least_beat = 0, error.beat + 1  # ask it anew
        self._wait_s = min(max(1.0, self._wait_s * 2), _MOST_WAIT_S)
        self._not_before = self.ticks() + self._wait_s

    def _beat(self, last: int, sends: int) -> str:
        minutes = int((self.ticks() - self._minute) // 60)
        self._minute += minutes * 60
        beat, self._day = self.spool.next_beat(minutes, self._least_beat, sends)
        if minutes:
            self.spool.forget(self._day, {each.number for each in self.sessions.open.values()})
        told = {"form": FORM, "host": self.host, "beat": beat, "at": instant(self.clock()), "last": last, "boot": self.boot}
        return spelled({**told, "open": self.sessions.named()})

    def _behind(self) -> bool:
        return self._wanted == 0 or self._wanted <= self.sessions.seen

    def _learn(self) -> None:
        with self.spool.locked():
            last = self.spool.last()
            if last == self.sessions.seen:
                return
            waiting = self.spool.waiting()
        for number, text in waiting.items():
            if number > self.sessions.seen:
                self.sessions.learn(text)
        self.sessions.seen = max(last, self.sessions.seen)

    def _add(self, what: str, **fields: str) -> int:
        return self.spool.add(self.clock(), what, **fields)

    def _clear(self, since: float, pid: int, words: str) -> bool:
        """Whether this line of sshd's was understood, or waited long enough for its session."""
        return self.sessions.of_sshd(pid, words, self._add) or self.ticks() > since + _LOG_WAITS_S

    def _keep_places(self) -> None:
        places = {"sshd": self._tail.place, "postgresql": self._postgresql.place if self._postgresql else ""}
        if not self._unclear and _read_places(self.spool.place.read()) != places:
            self.spool.place.write(json.dumps(places))


def _sshd_tail(log_file: str, place: str, service: str) -> JournalTail | SshdTail:
    return JournalTail(place, (service,)) if log_file == JOURNAL else SshdTail(Path(log_file), place, service)


def _read_places(words: str) -> dict[str, str]:
    try:
        places = json.loads(words)
    except ValueError:
        return {}
    return {str(name): str(place) for name, place in places.items()} if isinstance(places, dict) else {}
