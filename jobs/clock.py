"""The clock: looks what is due, hands it out, notes what was missed. `python -m jobs.clock`.

The database says what is due; the broker only carries it. Two clocks at once do no harm: a claim is taken by one of them.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import redis
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError

from config import SettingError, Settings
from core.actions.chores import plan_chores, pull_chores_in
from core.actions.claim_scans import Claimed, anything_due, claim_due, pull_in, release_claims
from core.actions.export_plans import plan_exports
from core.actions.heartbeats import beat
from core.actions.impersonations import settle_impersonations
from core.actions.notices import notices_due
from core.actions.policy import Actor
from core.actions.watches import rescope_watches
from core.perspective import LOCAL
from core.store.accounts import accounts_allowed
from core.store.backups import chores_due
from core.store.db import Sessions, make_engine
from core.store.endpoints import open_gaps
from core.store.exports import deliveries_due, exports_waiting
from core.store.identities import purge_flows
from core.store.imported import imports_waiting
from core.store.leaves import drop_unserved, unserved
from core.store.letters import letters_due, purge_letters
from core.store.spot_checks import purge_spot_checks, spot_checks_waiting
from jobs.queues import connect, enqueue, queue

NOW_BATCH, SCAN_BATCH = 20, 1_000
NOW_WAITING, SCAN_WAITING = 6, 1
"""Jobs that may wait on a queue: what cannot be taken up soon is better left due, where its lease does not run out."""
BEAT = timedelta(seconds=5)
ROUND = timedelta(minutes=1)
HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=15)
"""A scan later than this is a gap, and told as one."""
PLAN_MOST = 1.2
"""No scan is planned further ahead than the interval and its spread: what is, was planned by a clock that was ahead."""
SPOT_BATCH = 20
"""Spot checks of strangers are looked at together, one job at a time: those who watch names never wait behind many of them."""
CHORES = {"backup": ("back_up", "backup"), "drill": ("drill", "backup"), "look": ("look", "ops"), "purge": ("purge", "ops")}
CALL_AGAIN = timedelta(minutes=1)
"""A chore that is still due and in nobody's hand is handed out again: what was carried may be lost."""
EVEN_WITHOUT = timedelta(hours=1)
MAIL_WAITS = timedelta(seconds=30)
"""So long mail stands behind an export, an import or a purge, before who answers people takes it."""
MISCONFIGURED = 78
log = logging.getLogger("keychest.clock")


@dataclass(slots=True)
class Clock:
    """One look after the other. What it remembers between looks is only when it last did what is not done at every look."""

    sessions: Sessions
    connection: Redis
    now: Callable[[], datetime]
    lease: timedelta
    interval: timedelta = timedelta(hours=8)
    allowed_accounts: tuple[str, ...] = ()
    backup_interval: timedelta = timedelta(days=1)
    _called: dict[str, datetime] = field(default_factory=dict)
    _asked: dict[int, datetime] = field(default_factory=dict)
    _swept_to: int = 0
    _files: dict[tuple[str, int], datetime] = field(default_factory=dict)
    _mail_waits: datetime | None = None
    _swept_at: datetime = field(default=datetime.min.replace(tzinfo=UTC))
    _beat_at: datetime = field(default=datetime.min.replace(tzinfo=UTC))
    _round_at: datetime = field(default=datetime.min.replace(tzinfo=UTC))

    def tick(self) -> int:
        """One look; how many scans were handed out. Raises what the database or the broker raise: the next look tries again."""
        now = self.now()
        if now - self._beat_at >= BEAT:
            with self.sessions.writing() as session:
                beat(session, "clock", pid=os.getpid(), now=now)
            self._beat_at = now
        handed_out = self._hand_out()
        self._call_spot_checks(now)
        self._call_mail(now)
        self._call_chores(now)
        self._call_files(now)
        if now - self._round_at >= ROUND:
            self._round_at = now  # first: a round that fails is tried in the next minute, and holds nothing else up
            self._make_round(now)
        return handed_out

    def _make_round(self, now: datetime) -> None:
        with self.sessions.writing() as session:
            missed = open_gaps(session, grace=GRACE, now=now)
            ahead = pull_in(session, longest=self.interval * PLAN_MOST, now=now)
            accounts = accounts_allowed(session, self.allowed_accounts)
            plan_chores(session, now)
            ahead += pull_chores_in(session, longest=self._longest_chores(), now=now)
            moved = rescope_watches(session, account_ids=sorted(accounts), now=now) if accounts else 0
            purge_spot_checks(session, now)
            purge_letters(session, now)
            settle_impersonations(session, Actor(worker=True), now=now)
            purge_flows(session, now)
        self._sweep_leaves()
        self._plan_files(now)
        if missed or ahead or moved:
            log.warning("%d scans were missed, %d were planned too late, %d watches moved to private endpoints", missed, ahead, moved)

    def _sweep_leaves(self) -> None:
        """Go on through what certificates are listed by, some rows a round, and drop what nobody serves any more."""
        with self.sessions.reading() as session:
            needless, self._swept_to = unserved(session, self._swept_to)
        if needless:
            with self.sessions.writing() as session:
                drop_unserved(session, needless)

    def _hand_out(self) -> int:
        with self.sessions.reading() as session:
            if not anything_due(session, perspective=LOCAL, now=self.now()):
                return 0
        handed_out = 0
        room = {name: most - queue(self.connection, name).count for name, most in (("now", NOW_WAITING), ("scan", SCAN_WAITING))}
        # Urgent scans go to `now` in small batches; where so many are asked for that it is full, the rest goes to `scan`.
        for name, urgent, batch in (("now", True, NOW_BATCH), ("scan", True, SCAN_BATCH), ("scan", False, SCAN_BATCH)):
            while room[name] > 0:
                claims = self._claim(urgent=urgent, most=batch)
                if not claims:
                    break
                self._enqueue(name, claims)
                room[name] -= 1
                handed_out += len(claims)
        return handed_out

    def _claim(self, *, urgent: bool, most: int) -> list[Claimed]:
        lease = self.lease * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, keeps no secret
        with self.sessions.writing() as session:
            return claim_due(session, perspective=LOCAL, urgent=urgent, most=most, lease=lease, now=self.now())

    def _enqueue(self, name: str, claims: Sequence[Claimed]) -> None:
        ids = [number for claimed in claims for number in (claimed.endpoint_id, claimed.claim)]
        try:
            enqueue(self.connection, name, "scan_batch", ids)
        except redis.RedisError:
            with self.sessions.writing() as session:
                release_claims(session, perspective=LOCAL, claims=claims)
            raise

    def _call_spot_checks(self, now: datetime) -> None:
        """Hand out the questions of strangers. They are claimed where they are answered: one handed out twice is answered once."""
        with self.sessions.reading() as session:
            waiting = spot_checks_waiting(session, now, SPOT_BATCH)
        self._asked = {each: at for each, at in self._asked.items() if each in waiting and at <= now < at + CALL_AGAIN}
        fresh = [each for each in waiting if each not in self._asked]
        if fresh and queue(self.connection, "now").count < NOW_WAITING:
            enqueue(self.connection, "now", "spot_checks", fresh)
            self._asked |= dict.fromkeys(fresh, now)

    def _call_mail(self, now: datetime) -> None:
        """Mail that is due goes to `ops`; where long work is in front of what stands there, it goes to `now` after a while."""
        with self.sessions.reading() as session:
            notices, letters = notices_due(session, now), letters_due(session, now)
        name = self._way_of_mail(now) if notices or letters else ""
        if letters and name:  # somebody waits for it
            enqueue(self.connection, name, "send_letters", [])
        if notices and name:
            enqueue(self.connection, name, "send_notices", [])

    def _way_of_mail(self, now: datetime) -> str:
        if not queue(self.connection, "ops").count:
            self._mail_waits = None
            return "ops"
        if self._mail_waits is None or self._mail_waits > now:
            self._mail_waits = now
        if now - self._mail_waits < MAIL_WAITS or queue(self.connection, "now").count >= NOW_WAITING:
            return ""
        self._mail_waits = now
        return "now"

    def _call_chores(self, now: datetime) -> None:
        """Hand out what operators' work is due. It is claimed where it is done: one that is called twice is done once."""
        with self.sessions.reading() as session:
            due = chores_due(session, now)
        for name in sorted(due):
            called = self._called.get(name)
            if called is None or not called <= now < called + CALL_AGAIN:
                self._called[name] = now
                job, queue_name = CHORES[name]
                enqueue(self.connection, queue_name, job, [])
        for name in self._called.keys() - due:
            del self._called[name]

    def _call_files(self, now: datetime) -> None:
        """Hand out exports and imports that people wait for, and deliveries. Each is claimed where it is done."""
        with self.sessions.reading() as session:
            waiting = [("export", each) for each in exports_waiting(session, now)]
            waiting += [("bring_in", each) for each in imports_waiting(session, now)]
            waiting += [("deliver", each) for each in deliveries_due(session, now)]
        there = set(waiting)
        self._files = {each: at for each, at in self._files.items() if each in there and at <= now < at + CALL_AGAIN}
        for job, row in waiting:
            if (job, row) not in self._files:
                enqueue(self.connection, "ops", job, [row])
                self._files[job, row] = now

    def _plan_files(self, now: datetime) -> None:
        """Exports that plans want are asked for; files that are done with are removed, once an hour."""
        with self.sessions.writing() as session:
            plan_exports(session, now=now)
        if now - self._swept_at >= HOUR:
            self._swept_at = now
            enqueue(self.connection, "ops", "sweep_files", [])

    def _longest_chores(self) -> dict[str, timedelta]:
        day = self.backup_interval * PLAN_MOST
        return {"backup": day, "drill": day + 2 * EVEN_WITHOUT, "look": timedelta(hours=1), "purge": timedelta(days=1)}


def run(clock: Clock, *, tick_s: float, stop: threading.Event) -> None:
    """Look again and again until `stop`. A database or broker that is away is logged once a minute, and tried again."""
    silent_until = datetime.min.replace(tzinfo=UTC)
    while not stop.is_set():
        try:
            busy = clock.tick() > 0
        except (SQLAlchemyError, redis.RedisError) as error:
            busy = False
            if clock.now() >= silent_until:
                log.warning("Nothing can be handed out: %s. It stays due, and is tried again.", error)
                silent_until = clock.now() + ROUND
        stop.wait(tick_s if not busy else tick_s / 4)


def main(_words: Sequence[str] = ()) -> int:
    """Run until SIGTERM. It takes no words. Exit codes: 0 stopped, 78 wrong settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        settings = Settings.from_environment(os.environ)
        sessions = Sessions(make_engine(settings.database("worker")))
    except SettingError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
        return MISCONFIGURED
    if not settings.redis_url:
        log.error("REDIS_URL is not set. `./keychest up` sets it for its clock.")
        return MISCONFIGURED
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    clock = Clock(
        sessions=sessions,
        connection=connect(settings.redis_url),
        now=lambda: datetime.now(UTC),
        lease=timedelta(seconds=settings.scan_lease_s),
        interval=timedelta(seconds=settings.scan_interval_s),
        allowed_accounts=settings.scan_allow_accounts if settings.scan_allow else (),
        backup_interval=timedelta(seconds=settings.backup_interval_s),
    )
    run(clock, tick_s=settings.clock_tick_s, stop=stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
