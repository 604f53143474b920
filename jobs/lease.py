"""A lease that is kept while long work goes on, and lets go by itself within minutes when its worker is killed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.actions.chores import Taken
from core.store.backups import RUNNING, Backup, Chore
from jobs.context import Context

LEASE: Final = timedelta(minutes=3)
_RENEWED_S: Final = 20.0
log = logging.getLogger("keychest.lease")


@contextmanager
def kept(context: Context, taken: Taken, backup_id: int | None = None) -> Iterator[None]:
    """Renew the chore's lease, and that of a running backup, until the block ends."""

    def renew(session: Session) -> None:
        until = context.now() + LEASE
        ours = (Chore.name == taken.name, Chore.claim == taken.claim, Chore.lease_until.is_not(None))  # it may have ended
        session.execute(sa.update(Chore).where(*ours).values(lease_until=until))
        running = sa.update(Backup).where(Backup.id == backup_id, Backup.state == RUNNING)
        session.execute(running.values(lease_until=until))

    with renewed(context, renew):
        yield


@contextmanager
def renewed(context: Context, renew: Callable[[Session], object]) -> Iterator[None]:
    """Renew a lease every few seconds until the block ends. Where one transaction holds the database, it is renewed after that."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(_RENEWED_S):
            try:
                with context.sessions.writing() as session:
                    renew(session)
            except SQLAlchemyError as error:
                log.warning("a lease could not be renewed: %s", error)

    thread = threading.Thread(target=go_on, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
