"""The bin's end, once a day, by the purge's own login to the database."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from core.actions.chores import end_chore, take_chore
from core.actions.policy import Actor
from core.actions.purge import Purged, may_purge, purge_bin
from core.store.base import IN_BIN_FOR
from core.store.db import Sessions, make_engine
from core.store.erase import purge_imports, purge_subscribers
from jobs.context import Context

WORKER: Final = Actor(worker=True)
EVERY: Final = timedelta(days=1)
AGAIN: Final = timedelta(hours=1)
"""When nothing may be purged, it is looked at again so much later."""
LEASE: Final = timedelta(minutes=10)
log = logging.getLogger("keychest.purge")


def purge(context: Context, *words: str) -> None:
    """Erase what has lain in the bin for 30 days; with words, though it is not due."""
    with context.sessions.writing() as session:
        taken = take_chore(session, "purge", lease=LEASE, now=context.now(), anyway=bool(words))
    if taken is None:
        return
    after = EVERY if _purged(context) else AGAIN
    with context.sessions.writing() as session:
        end_chore(session, taken, next_at=context.now() + after, now=context.now())


def _purged(context: Context) -> bool:
    if not context.purge_url:
        log.warning("DATABASE_URL_PURGE is not set: nothing leaves the bin for good.")
        return False
    engine = make_engine(context.purge_url)
    try:
        with Sessions(engine).writing() as session:
            why_not = may_purge(session, context.now())
            went = purge_bin(session, WORKER, now=context.now())
            purge_subscribers(session, context.now())
            if not why_not:
                purge_imports(session, context.now() - IN_BIN_FOR)
    finally:
        engine.dispose()
    if why_not:
        log.warning("%s", why_not)
    elif went != Purged():
        log.info("purged: %s", went)
    return not why_not
