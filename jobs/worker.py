"""One worker for one queue: `python -m jobs.worker now`. Each job runs in a forked process of its own, the work horse.

The parent never does a job's work and the horse never uses the parent's connections: the parent writes its sign of life to the
database and puts the connection away again, the horse opens what it needs.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
import rq
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from config import SettingError, Settings
from core import lifeline
from core.actions.heartbeats import beat
from core.backups.plan import Plan
from core.store.db import Sessions, make_engine
from jobs.carrier import JOBS, CarriedJob
from jobs.context import Context
from jobs.queues import QUEUES, share_out

BEAT_S = 5
HORSE_BYTES = 2**31
USAGE, UNAVAILABLE, MISCONFIGURED = 64, 69, 78
log = logging.getLogger("keychest.worker")


class Worker(rq.Worker):
    """RQ's forking worker, which takes no commands from the broker, says that it is alive, and whose horses die with it."""

    job_class = CarriedJob
    log_result_lifespan = False
    max_connection_wait_time = 5.0

    def __init__(self, queue_name: str, connection: redis.Redis, beat_now: Callable[[], None], open_context: Callable[[], Context]) -> None:
        super().__init__(
            [queue_name],
            name=f"{queue_name}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            connection=connection,
            job_class=CarriedJob,
            serializer=JSONSerializer,
            worker_ttl=BEAT_S + 15,  # RQ waits for work 15 s less than this, then sends a heartbeat
            job_monitoring_interval=BEAT_S,
            log_job_description=False,
        )
        self._beat_now = beat_now
        self._open_context = open_context
        self._beat_at_s = -float(BEAT_S)

    def procline(self, message: str) -> None:
        """Keep the title that whoever started us gave: RQ would write names of jobs into it."""

    def subscribe(self) -> None:
        """Take no commands: whoever can write to the broker could stop jobs, and a second thread does not go well with fork."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ calls this whenever it waits, also for a horse; the parent's sign of life goes to the database too, and first."""
        if not self.is_horse and time.monotonic() - self._beat_at_s >= BEAT_S - 1:
            self._beat_at_s = time.monotonic()
            self._beat_now()
        super().heartbeat(timeout, pipeline)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """A horse at work goes on while the broker is away: its results go to the database."""
        try:
            super().maintain_heartbeats(job, execution)
        except redis.RedisError as error:
            log.warning("The broker does not answer (%s). The job at hand goes on.", error)

    def execute_job(self, job: Job, queue: rq.Queue) -> None:
        """A job belongs to the queue it was taken from, whatever it says itself."""
        job.origin = queue.name
        super().execute_job(job, queue)

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, _rusage: Any) -> None:
        """What a horse dies of is looked for: its work goes out again in halves."""
        log.warning("The horse %s died with the job %s (%s).", retpid, job.id, ret_val)
        if isinstance(job, CarriedJob):
            try:
                share_out(self.connection, job.origin, job)
            except redis.RedisError as error:
                log.warning("The work of a horse that died could not be given out anew (%s). Its leases run out.", error)

    def main_work_horse(self, job: Job, queue: rq.Queue) -> None:
        """The horse's own life: it ends with its worker, can gain nothing, and may fill HORSE_BYTES of memory."""
        lifeline.end_with(int(self.pid or 0))
        lifeline.give_up_means(HORSE_BYTES)
        if isinstance(job, CarriedJob):
            job.open_context = self._open_context
        super().main_work_horse(job, queue)


def make_context(settings: Settings) -> Context:
    """What a job gets, with an engine that no other process shares."""
    return Context(
        sessions=Sessions(make_engine(settings.database("worker"))),
        now=lambda: datetime.now(UTC),
        data=settings.data,
        public_url=settings.public_url,
        scan_allow=settings.scan_allow,
        scan_allow_accounts=settings.scan_allow_accounts,
        extra_roots=settings.extra_roots,
        resolvers=settings.resolvers,
        scan_interval_s=settings.scan_interval_s,
        scan_lease_s=settings.scan_lease_s,
        smtp_url=settings.smtp_url,
        log_folder=settings.log_at(settings.data) / "public",
        mail_from=settings.mail_from,
        status_address=settings.status_address(settings.public_url),
        plan=Plan(**settings.backups()),
        purge_url=purge_url(settings),
        opted_out=settings.never_scan,
        public_scan_allow=settings.scan_allow if settings.demo else (),
    )


def purge_url(settings: Settings) -> str:
    """Where the purge's own login leads; "" in production without one: then nothing is purged."""
    if settings.production and not settings.database_url_purge and settings.database("worker").startswith("postgres"):
        return ""
    return settings.database("purge")


def beater(settings: Settings, name: str) -> Callable[[], None]:
    """A function that notes the sign of life of process `name`. A database that is away is logged: work may go on without."""
    engine = make_engine(settings.database("worker"))
    if engine.dialect.name == "sqlite":  # a sign of life is not worth holding up work for; the next one comes soon
        event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout=1000"))

    def beat_now() -> None:
        try:
            with Sessions(engine).writing() as session:
                beat(session, name, pid=os.getpid(), now=datetime.now(UTC))
        except SQLAlchemyError as error:
            log.warning("The sign of life could not be written: %s", error)
        finally:
            engine.dispose()  # no connection may be open when a horse is forked

    return beat_now


def main(arguments: list[str]) -> int:
    """Work on one queue until SIGTERM. Exit codes: 0 stopped, 64 wrong words, 69 no broker, 78 wrong settings."""
    if len(arguments) != 1 or arguments[0] not in QUEUES:
        print(f"Name one queue: {', '.join(QUEUES)}.", file=sys.stderr)  # noqa: T201 - a terminal's answer
        return USAGE
    queue_name = arguments[0]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        settings = Settings.from_environment(os.environ)
        beat_now = beater(settings, f"worker.{queue_name}")
    except SettingError as error:
        return _give_up(str(error), MISCONFIGURED)
    if not settings.redis_url:
        return _give_up("REDIS_URL is not set. `./keychest up` sets it for its workers.", MISCONFIGURED)
    prepare(queue_name)  # imported once here instead of in every horse
    keep_what_is_imported()
    try:
        worker = Worker(queue_name, redis.Redis.from_url(settings.redis_url), beat_now, lambda: make_context(settings))
        worker.work(logging_level="WARNING")
    except redis.RedisError as error:
        return _give_up(f"The broker does not answer: {error}", UNAVAILABLE)
    return 0


def prepare(*queues: str) -> None:
    """Import what jobs of these queues run; all of them where none is named."""
    for kind in JOBS:
        if not queues or set(queues) & set(kind.queues):
            kind.function()


def keep_what_is_imported() -> None:
    """Nothing that was imported is looked through for cycles again: each horse would, and copy its pages by that."""
    gc.collect()
    gc.freeze()


def _give_up(why: str, code: int) -> int:
    log.error("%s", why)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
