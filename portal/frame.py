"""What stands round every page: who is signed in, how many names there are, and what everybody should know now."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, cast

from flask import Flask, current_app, g
from sqlalchemy.orm import Session

from audit.asked import newest_log
from core.actions.policy import INSTALLATION_POLICY, Permission, allows
from core.backups.alarms import KINDS
from core.broker import answers
from core.store.accounts import SignedIn
from core.store.approvals import waiting_for
from core.store.backups import Alarm, open_alarms
from core.store.heartbeats import heartbeats
from core.store.impersonations import LookedAt, looks_at
from core.store.listing import counts
from portal.identity import person, who
from portal.parts import Parts, now, parts, reading

ASKED_EVERY_S: Final = 5.0
SILENT_FOR: Final = timedelta(seconds=60)
_SCANNING: Final = ("clock", "worker.now", "worker.scan")
"""Processes without which scans wait."""
_PATIENCE_S: Final = 0.5
LOOKS_TOLD_FOR: Final = timedelta(days=7)
_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """Of the person and the account they act in. `names` is how many are watched; None where nobody is signed in.

    `alarm` tells what is wrong with backups, "" when nothing is, and to those alone who run the installation.
    """

    person: SignedIn | None
    names: int | None
    broker_away: bool
    workers_away: bool
    mail_is_kept: bool
    alarm: str = ""
    demo: bool = False
    spot_check: bool = False
    waiting: int = 0
    """How many approvals wait for this person."""
    factor_needed: bool = False
    """A role on the installation rests until its person has a second factor."""
    log_trouble: str = ""
    """What is wrong with the log, "" when nothing is, and to those alone who run the installation."""
    looked: tuple[LookedAt, ...] = ()
    """Looks of operators at this account that its owner is told of."""

    @property
    def initials(self) -> str:
        """Two letters that stand for the person."""
        words = (self.person.email if self.person else "?").partition("@")[0].replace(".", " ").replace("-", " ").split()
        return "".join(word[0] for word in words[:2]).upper() or "?"


@dataclass(slots=True)
class BrokerWatch:
    """Whether the broker answers, asked at most every few seconds and never with a retry: pages do not wait for it."""

    url: str
    asked_at: float = field(default=float("-inf"))
    away: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_away(self) -> bool:
        """The newest answer. While one request asks, the others take the answer before."""
        if time.monotonic() - self.asked_at > ASKED_EVERY_S and self.lock.acquire(blocking=False):
            try:
                self.away = not answers(self.url, _PATIENCE_S)
                self.asked_at = time.monotonic()
            finally:
                self.lock.release()
        return self.away


@dataclass(slots=True)
class WorkWatch:
    """Whether what scans gives signs of life, asked by one question at most every few seconds."""

    asked_at: float = field(default=float("-inf"))
    away: bool = False
    log_trouble: str = ""
    """Why the log does not go on, as it was found then."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_away(self, session: Session, now: datetime) -> bool:
        """The newest answer, as `BrokerWatch.is_away`. A process that never gave a sign is away."""
        if time.monotonic() - self.asked_at > ASKED_EVERY_S and self.lock.acquire(blocking=False):
            try:
                beats = heartbeats(session)
                self.away = any(name not in beats or now - beats[name] > SILENT_FOR for name in _SCANNING)
                self.log_trouble = _log_trouble(session, beats, now)
                self.asked_at = time.monotonic()
            finally:
                self.lock.release()
        return self.away


def install(app: Flask, given: Parts) -> None:
    """Begin to watch the broker and the workers."""
    app.extensions["keychest.broker"] = BrokerWatch(given.redis_url)
    app.extensions["keychest.work"] = WorkWatch()


def frame() -> Frame:
    """The frame of this request's page."""
    signed_in = person()
    if signed_in is None:
        return frame_of_nobody()
    broker: BrokerWatch = current_app.extensions["keychest.broker"]
    runs = Permission.SEE_OPERATIONS in INSTALLATION_POLICY.get(signed_in.installation_role, ())
    names = sum(counts(reading(), signed_in.account_id).values()) if signed_in.account_id is not None else 0
    work: WorkWatch = current_app.extensions["keychest.work"]
    return Frame(
        signed_in,
        names,
        broker_away=broker.is_away(),
        workers_away=work.is_away(reading(), now()),
        mail_is_kept=parts().mail_is_kept,
        alarm=_alarm() if runs else "",
        demo=parts().demo is not None,
        spot_check=parts().spot_check,
        waiting=_waiting(signed_in),
        factor_needed=(actor := who()) is not None and actor.unproven,
        log_trouble=(work.log_trouble or _log_late()) if runs else "",
        looked=_looked(signed_in),
    )


def silent_sequencer(beats: Mapping[str, datetime], now: datetime) -> bool:
    """Whether nothing seals. Over PostgreSQL it may run elsewhere, and one that never gave a sign is not missed."""
    if "sequencer" not in beats:
        return parts().database_url.startswith("sqlite")
    return now - beats["sequencer"] > SILENT_FOR


def _log_trouble(session: Session, beats: Mapping[str, datetime], now: datetime) -> str:
    log = newest_log(session)
    if log is not None and log.trouble:
        return "The log signs nothing: what it should go on from is not what was signed."
    silent = silent_sequencer(beats, now)
    return "Nothing is sealed into the log: its process gave no sign of life for a minute." if silent else ""


def _log_late() -> str:
    late = any(alarm.kind == "log" for alarm in alarms_going_on())
    return "What happened is not in the log yet, though it should have been for minutes." if late else ""


def frame_of_nobody() -> Frame:
    """The frame of a page that is the same for everybody, and of who is not signed in. Nothing is asked for it."""
    nobody = Frame(None, None, broker_away=False, workers_away=False, mail_is_kept=False)
    return replace(nobody, demo=parts().demo is not None, spot_check=parts().spot_check)


def _looked(signed_in: SignedIn) -> tuple[LookedAt, ...]:
    if signed_in.account_id is None or signed_in.role != "owner":
        return ()
    return looks_at(reading(), signed_in.account_id, now() - LOOKS_TOLD_FOR, most=_LOOKS)


def _waiting(signed_in: SignedIn) -> int:
    if signed_in.account_id is None or not allows(signed_in.role, Permission.REMOVE_DOMAINS):
        return 0
    return waiting_for(reading(), signed_in.account_id, signed_in.user_id, now())


def alarms_going_on() -> tuple[Alarm, ...]:
    """Open alarms about backups, asked for once in a request: the page about backups tells them too."""
    if "alarms" not in g:
        g.alarms = tuple(open_alarms(reading()))
    return cast("tuple[Alarm, ...]", g.alarms)


def _alarm() -> str:
    found = {alarm.kind for alarm in alarms_going_on()} - {"log"}  # which is told by itself
    gravest = next((sentence for kind, sentence in KINDS.items() if kind in found), "")
    return f"{gravest} {len(found) - 1} more to look at." if len(found) > 1 else gravest
