"""What stands round every page: who is signed in, how many names there are, and what everybody should know now."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

import redis
from flask import Flask, current_app
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.store.accounts import SignedIn
from core.store.listing import counts
from portal.identity import person
from portal.parts import Parts, parts, reading

ASKED_EVERY_S: Final = 5.0
_PATIENCE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Frame:
    """Of the person and the account they act in. `names` is how many are watched; None where nobody is signed in."""

    person: SignedIn | None
    names: int | None
    broker_away: bool
    mail_is_kept: bool

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
                self.away = not _answers(self.url)
                self.asked_at = time.monotonic()
            finally:
                self.lock.release()
        return self.away


def _answers(url: str) -> bool:
    probe = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S)
    try:
        return bool(probe.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        probe.close()


def install(app: Flask, given: Parts) -> None:
    """Begin to watch the broker."""
    app.extensions["keychest.broker"] = BrokerWatch(given.redis_url)


def frame() -> Frame:
    """The frame of this request's page."""
    signed_in = person()
    if signed_in is None:
        return Frame(None, None, broker_away=False, mail_is_kept=False)
    broker: BrokerWatch = current_app.extensions["keychest.broker"]
    names = sum(counts(reading(), signed_in.account_id).values()) if signed_in.account_id is not None else 0
    return Frame(signed_in, names, broker_away=broker.is_away(), mail_is_kept=parts().mail_is_kept)
