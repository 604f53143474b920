"""Whether a broker is there, and what waits in it. Asked by the supervisor, by pages and by /healthz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_LONGEST: Final = 64


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether a broker answers at `url` now; nobody does at "". Never retries: redis-py's default takes 4 s to tell so."""
    if not url:
        return False
    with _probe(url, timeout_s) as probe:
        try:
            return bool(probe.ping())
        except (redis.RedisError, OSError):  # also while it still loads its file
            return False


@dataclass(frozen=True, slots=True)
class Queued:
    """How many jobs wait in a queue, and since when the oldest one has; None where nothing waits or that cannot be read."""

    name: str
    count: int
    oldest: datetime | None


def queued(url: str, names: Sequence[str], timeout_s: float = 1.0) -> tuple[Queued, ...] | None:
    """What waits in these queues of RQ's; None while no broker answers."""
    if not url:
        return None
    with _probe(url, timeout_s) as probe:
        try:
            return tuple(_queued(probe, name) for name in names)
        except (redis.RedisError, OSError):
            return None


def _queued(probe: redis.Redis, name: str) -> Queued:
    key = f"rq:queue:{name}"
    count, first = probe.llen(key), probe.lindex(key, 0)
    job = f"rq:job:{first.decode('ascii', 'replace').partition(':')[0]}" if isinstance(first, bytes) else ""
    if not job or not 0 < probe.hstrlen(job, "enqueued_at") <= _LONGEST:
        return Queued(name, int(count), None)
    written = probe.hget(job, "enqueued_at")
    return Queued(name, int(count), _read(written) if isinstance(written, bytes) else None)


def _read(written: bytes) -> datetime | None:
    try:
        at = datetime.fromisoformat(written.decode("ascii"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@contextmanager
def _probe(url: str, timeout_s: float) -> Iterator[redis.Redis]:
    probe = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        yield probe
    finally:
        probe.close()
