"""The queues and the one way onto them. They carry hints: what is due stands in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.carrier import FAILURE_TTL_S, JOBS, CarriedJob, Id

QUEUES: Final = ("now", "scan", "ops", "backup")
"""`backup` has long work, so that mail on `ops` never waits for it; behind an export or import mail waits for a moment, and takes the way
of what people wait for (jobs/clock.py). On PostgreSQL the user whom the database's files belong to does it."""


def connect(redis_url: str, *, timeout_s: float = 5.0) -> Redis:
    """A connection that tells at once when nobody is there: whoever enqueues has the database to fall back on."""
    return Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s)


def queue(connection: Redis, name: str) -> Queue:
    """One of the queues. Raises ValueError for any other name."""
    if name not in QUEUES:
        raise ValueError(f"{name!r} is not one of the queues {', '.join(QUEUES)}")
    return Queue(name, connection=connection, job_class=CarriedJob, serializer=JSONSerializer)


def share_out(connection: Redis, queue_name: str, job: CarriedJob) -> None:
    """Give out anew, in halves of its pairs of ids, a job whose horse died: one pair may be what it dies of, and must not cost the others.

    Pairs that were done before are no longer in hand and are passed over. Raises redis.RedisError: then the leases run out.
    """
    kind = next((kind for kind in JOBS if kind.name == job.name and not job.refusal), None)
    if kind is None or not kind.alone or not job.ids:
        return
    pairs = len(job.ids) // 2
    if pairs == 1:
        enqueue(connection, queue_name, kind.alone, job.ids)
        return
    for half in (job.ids[: pairs // 2 * 2], job.ids[pairs // 2 * 2 :]):
        enqueue(connection, queue_name, kind.name, half)


def enqueue(connection: Redis, queue_name: str, job_name: str, ids: Sequence[Id], timeout_s: int | None = None) -> str:
    """Hand out a job of `JOBS` with its ids, and give the job's id.

    Raises ValueError for an unknown job, redis.RedisError when no broker takes it: then the database still says what is due.
    A worker stops the job after the time its kind has in `JOBS`, whatever `timeout_s` tells RQ.
    """
    kind = next((kind for kind in JOBS if kind.name == job_name), None)
    if kind is None or queue_name not in kind.queues:
        raise ValueError(f"no job {job_name!r} runs on queue {queue_name!r}")
    job = queue(connection, queue_name).enqueue_call(
        func=job_name,
        args=tuple(ids),
        timeout=timeout_s or kind.timeout_s,
        result_ttl=0,  # results stand in the database
        failure_ttl=FAILURE_TTL_S,
        description=job_name,  # else RQ writes the ids into a field that is logged
    )
    return job.id
