"""`./keychest status`: put the status feed somewhere, and watch a portal from another machine."""

from __future__ import annotations

import signal
import threading
import time
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
from core.net.provider import trusting
from core.status.codec import encode
from core.status.files import files_of
from core.status.mirror import MirrorError
from core.status.placing import put_files
from core.status.watching import REASONS, Watcher, WatchError
from core.targets import Target, TargetError, open_target

_EVERY_S: Final = 60.0


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
    count = _put(feed, where, target)
    print(f"The feed is in {target.shown if target else where}: {count} files said something new.")
    due = time.monotonic() + _EVERY_S
    while keep:
        time.sleep(3)
        if feed.changed() or time.monotonic() > due:
            due = time.monotonic() + _EVERY_S
            _put(feed, where, target)


def _put(feed: Feed, where: str, target: Target | None) -> int:
    try:
        told = feed.look_only(datetime.now(UTC))
        folder = folder_of(where)
        return feed.put_at(told, target) if target is not None else feed.put(told, folder or Path(where))
    except (MirrorError, TargetError, OSError) as error:
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
    if not url.startswith(("https://", "http://")):
        raise Sorry("Name the portal's address, as https://keychest.example.", USAGE)
    kept = state or folder.with_name(f"{folder.name}.watch")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        watcher = Watcher(url.rstrip("/"), folder, kept, name, trusting(roots), every)
        watcher.load()
        while not stop.is_set():
            well = look_once(watcher, datetime.now(UTC))
            if once:
                return 0 if well else 1
            stop.wait(every)
    except WatchError as error:
        raise Sorry(str(error), UNAVAILABLE) from None
    except OSError as error:
        raise Sorry(f"The copy could not be written: {error}. What was there stays.", UNAVAILABLE) from None
    return 0


def look_once(watcher: Watcher, now: datetime) -> bool:
    """One look, and the copy made anew; whether all is well. Raises OSError."""
    told = watcher.turn(now)
    put_files(watcher.folder, files_of(told) | ({REASONS: watcher.reasons} if watcher.reasons else {}))
    watcher.keep(encode(watcher.last) if watcher.last else None)
    states = {each.key: each.state for each in told.components}
    return states["portal"] == "ok" and "down" not in states.values()
