"""`./keychest status`: put the status feed somewhere, and watch a portal from another machine."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from cli import place
from cli.db import require_ready
from cli.status_feed import Feed
from cli.status_keeper import folder_of, made
from cli.words import MISCONFIGURED, UNAVAILABLE, USAGE, Sorry
from config import SettingError
from core.net.provider import Tls, on_this_machine, trusting
from core.status.codec import ADDRESS, encode
from core.status.mirror import MirrorError
from core.status.placing import put_files
from core.status.watching import REASONS, Seen, Watcher, WatchError
from core.targets import Target, TargetError, open_target

_EVERY_S: Final = 60.0
_LOOK_S: Final = 3.0
log = logging.getLogger("keychest.status")


@click.group("status")
def status() -> None:
    """The status feed: put it on another machine, and keep it true from there."""


@status.command("publish")
@click.argument("where", metavar="DIR-or-target")
@click.option("--keep", is_flag=True, help="Go on: at each change and every minute, until Ctrl-C.")
@place.data_option
def publish(where: str, *, keep: bool, data: Path | None) -> None:
    """Write the whole feed as files: pages, Atom, JSON, badges, the log's tiles. A web server needs nothing else.

    Where: a folder, or file://, sftp:// and s3:// as for backups. `up` does it by itself for KEYCHEST_STATUS_PUBLISH.
    """
    settings = place.settings(data=data)
    require_ready(settings, data)
    try:
        feed = made(settings, address=place.public_url(settings), alone=False)
        target = open_target(where) if folder_of(where) is None else None
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    except ValueError as error:
        raise Sorry(str(error), USAGE) from None
    if keep:
        keep_putting(lambda: _put(feed, where, target), feed.changed, stopped())
        return
    count = _put(feed, where, target)
    print(f"The feed is in {target.shown if target else where}: {count} files said something new.")


def keep_putting(put: Callable[[], int], changed: Callable[[], bool], stop: threading.Event, pause_s: float = _LOOK_S) -> None:
    """Put at once, at each change and every minute, until `stop`. What could not be put is logged, and tried again in a minute."""
    due = time.monotonic()
    while not stop.is_set():
        if changed() or time.monotonic() >= due:
            due = time.monotonic() + _EVERY_S
            try:
                log.info("%s files said something new.", put())
            except Sorry as error:
                log.warning("%s It is tried again in a minute.", error)
        stop.wait(pause_s)


def stopped() -> threading.Event:
    """Set by SIGTERM and Ctrl-C. From here on what is logged is shown, too."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _put(feed: Feed, where: str, target: Target | None) -> int:
    try:
        told = feed.look_only(datetime.now(UTC))
        folder = folder_of(where)
        return feed.put_at(told, target) if target is not None else feed.put(told, folder or Path(where))
    except (MirrorError, TargetError, OSError, ValueError) as error:
        raise Sorry(f"The feed could not be put there: {error}", UNAVAILABLE) from None


@status.command("watch")
@click.argument("url")
@click.option("--publish", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="The published copy's folder.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="What is kept between looks. Default: DIR.watch beside it.")
@click.option("--name", default="the watcher", show_default=True, help="How people read of it.")
@click.option("--every", default=30.0, show_default=True, type=click.FloatRange(1, 60), help="Seconds between two looks.")
@click.option("--roots", default="", help="PEM file of roots of your own, for the portal's certificate.")
@click.option("--once", is_flag=True, help="Look once; exit code 1 where something is wrong.")
def watch(*, url: str, folder: Path, state: Path | None, name: str, every: float, roots: str, once: bool) -> int:
    """Watch the portal at URL from this machine, and keep a copy of its status feed here that stays true when the portal is gone."""
    watcher = Watcher(_address(url), folder, state or folder.with_name(f"{folder.name}.watch"), name, _trust(roots), every)
    stop = stopped()
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        watcher.state.parent.mkdir(parents=True, exist_ok=True)
        watcher.load()
        if once:
            return 0 if look_once(watcher, datetime.now(UTC)) else 1
    except WatchError as error:
        raise Sorry(str(error), UNAVAILABLE) from None
    except OSError as error:
        raise Sorry(f"The copy could not be written: {error}. What was there stays.", UNAVAILABLE) from None
    keep_watching(watcher, stop)
    return 0


def keep_watching(watcher: Watcher, stop: threading.Event, look: Callable[[], Seen] | None = None) -> None:
    """Look, and look again, until `stop`. A copy that could not be written is logged, and written with the next look."""
    while not stop.is_set():
        due = time.monotonic() + watcher.every_s
        try:
            look_once(watcher, datetime.now(UTC), look)
        except OSError as error:
            log.warning("The copy could not be written: %s. What was there stays, and the next look writes it.", error)
        stop.wait(max(due - time.monotonic(), min(watcher.every_s, 1)))


def look_once(watcher: Watcher, now: datetime, look: Callable[[], Seen] | None = None) -> bool:
    """One look: the pages, then what is copied of the log; whether all is well. `look`: where not at the portal. Raises OSError."""
    seen = (look or watcher.look)()
    told = watcher.turn(now, lambda: seen)
    _show(watcher)
    if seen.told is not None:
        if watcher.copy():
            told = watcher.turn(now, lambda: seen)
        _show(watcher)
    states = {each.key: each.state for each in told.components}
    return states["portal"] == "ok" and "down" not in states.values()


def _show(watcher: Watcher) -> None:
    put_files(watcher.folder, watcher.files | ({REASONS: watcher.reasons} if watcher.reasons else {}))
    watcher.keep(encode(watcher.last) if watcher.last else None)


def _address(url: str) -> str:
    """The portal's address, as it is asked and shown. Raises Sorry."""
    url = url.rstrip("/")
    if not ADDRESS.fullmatch(url):
        raise Sorry("Name the portal's address, as https://keychest.example.", USAGE)
    if url.startswith("http://") and not on_this_machine(url):
        raise Sorry("Name an address with https://: what comes by http:// from another machine may be anybody's.", USAGE)
    return url


def _trust(roots: str) -> Tls:
    try:
        return trusting(roots)
    except OSError as error:
        raise Sorry(f"--roots: {roots} cannot be used ({error.strerror or 'no certificate'}).", USAGE) from None
