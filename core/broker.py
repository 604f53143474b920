"""Whether a broker is there. Asked by the supervisor, by every page and by /healthz."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Whether a broker answers at `url` now; nobody does at "". Never retries: redis-py's default takes 4 s to tell so."""
    if not url:
        return False
    probe = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        return bool(probe.ping())
    except (redis.RedisError, OSError):  # also while it still loads its file
        return False
    finally:
        probe.close()
