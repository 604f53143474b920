"""A lease that is kept while long work goes on, and lets go by itself within minutes when its worker is killed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.actions.chores import Taken
from core.store.backups import RUNNING, Backup, Chore
from jobs.context import Context

LEASE: Final = timedelta(minutes=3)
_RENEWED_S: Final = 20.0
log = logging.getLogger("keychest.lease")


@contextmanager
def kept(context: Context, taken: Taken, backup_id: int | None = None) -> Iterator[None]:
    """Renew the chore's lease, and that of a running backup, until the block ends."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEWED_S):
            until = context.now() + LEASE
            try:
                with context.sessions.writing() as session:
                    ours = (Chore.name == taken.name, Chore.claim == taken.claim, Chore.lease_until.is_not(None))  # it may have ended
                    session.execute(sa.update(Chore).where(*ours).values(lease_until=until))
                    running = sa.update(Backup).where(Backup.id == backup_id, Backup.state == RUNNING)
                    session.execute(running.values(lease_until=until))
            except SQLAlchemyError as error:
                log.warning("a lease could not be renewed: %s", error)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
