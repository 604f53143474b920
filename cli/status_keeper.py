"""The status feed's maker as a process of its own: turn after turn, until SIGTERM. It measures what others do, and does none of it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from audit.keeper import Keeper
from cli.status_feed import Feed
from config import SettingError, Settings
from core.net.provider import trusting
from core.status.entries import Index
from core.status.gathering import Place
from core.status.promises import Circumstances
from core.store.db import Sessions, make_engine
from core.targets import open_target

MISCONFIGURED: Final = 78
EVERY: Final = timedelta(minutes=1)
AGAIN_S: Final = 5.0
LOOK_S: Final = 3.0
"""Between two looks at whether something changed that people should see at once."""
log = logging.getLogger("keychest.status")


def made(settings: Settings, data: Path | None = None, *, address: str = "", alone: bool = True) -> Feed:
    """The feed of an installation, with what was kept of it. Raises SettingError, OSError, and ValueError for a damaged file."""
    data = data or settings.data
    address = address or settings.public_url
    try:
        tls = trusting(settings.extra_roots)
    except OSError as error:
        raise SettingError(f"KEYCHEST_EXTRA_ROOTS: {settings.extra_roots} cannot be used ({error.strerror or 'no certificate'}).") from None
    feed = Feed(
        sessions=Sessions(make_engine(settings.database("worker"))),
        folder=settings.status_at(data),
        index=Index(Keeper(settings.log_at(data)).public, settings.log_witnesses),
        place=Place(address, settings.status_address(address), "", _ways(settings)),
        longest_age=timedelta(seconds=settings.backup_max_age_s),
        delay=timedelta(minutes=settings.incident_delay_min),
        tls=tls,
        alone=alone,
        targets=tuple(open_target(each) for each in settings.status_publish if folder_of(each) is None) if alone else (),
        folders=tuple(folder for each in settings.status_publish if alone and (folder := folder_of(each)) is not None),
    )
    feed.load()
    return feed


def folder_of(where: str) -> Path | None:
    """The folder on this machine that is meant: a path, or a file:// address; None for a target elsewhere."""
    parts = urlsplit(where)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(where) if "://" not in where else None


def _ways(settings: Settings) -> Circumstances:
    postgresql = settings.database_url.startswith("postgres")
    logins = (settings.database_url_portal, settings.database_url_worker, settings.database_url_migrate, settings.database_url_audit)
    return Circumstances(
        logins_apart=postgresql and all(logins),
        elsewhere=any(urlsplit(each).scheme != "file" for each in settings.backup_targets) or bool(settings.pgbackrest_config),
        published=bool(settings.status_url or settings.status_publish),
    )


def run(feed: Feed, stop: threading.Event, every: timedelta = EVERY) -> None:
    """A turn each minute, and one as soon as something changed. What could not be done is logged, and tried again."""
    with feed.claimed() as alone:
        if not alone:
            log.warning("Another process makes the feed in %s. This one waits.", feed.folder)
            stop.wait(AGAIN_S)
            return
        _turns(feed, stop, every)


def _turns(feed: Feed, stop: threading.Event, every: timedelta) -> None:
    due = datetime.min.replace(tzinfo=UTC)
    while not stop.is_set():
        now = datetime.now(UTC)
        if feed.changed() or now >= due or due - now > every:
            due = now + every
            try:
                feed.turn(now)
            except (OSError, ValueError, ArithmeticError):
                log.exception("The status feed was not made in this turn. It is tried again.")
        stop.wait(LOOK_S)


def main(_words: Sequence[str] = ()) -> int:
    """Run until SIGTERM. It takes no words. Exit codes: 0 stopped, 78 wrong settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        feed = made(Settings.from_environment(os.environ))
    except (SettingError, ValueError) as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
        return MISCONFIGURED
    while not stop.is_set():
        run(feed, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
