"""`./keychest demo`: `up` in a data folder of its own, with a made-up world on this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from cli import place, up
from cli.db import engine_for, make_ready
from cli.supervisor import Child
from cli.words import MISCONFIGURED, UNAVAILABLE, Sorry
from config import SettingError, Settings
from core.actions.accounts import issue_setup_link
from core.actions.policy import Actor
from core.status.measuring import keep_tally
from core.store.db import Sessions
from demo import MARK
from demo.cast import EMAIL, NETWORK, PASSWORD, make_world
from demo.public import measured
from demo.servers import listening
from demo.stage import PAST, make_account, write_past, write_world

FOLDER: Final = place.PROJECT / "var" / "demo"
FRESH: Final = timedelta(hours=12)
"""A demonstration older than this is begun anew: its certificates would not end when its story says."""
_OURS: Final = ("KEYCHEST_", "DATABASE_URL", "REDIS_URL")


@click.command("demo")
@click.option("--port", type=click.IntRange(0, 65535), help="Port the portal listens on; 0 for any free one.")
@place.data_option
def demo(port: int | None, data: Path | None) -> None:
    """Show KeyChest with about 40 made-up names and their servers, watched for 90 made-up days. On this machine alone."""
    _refuse_production()
    folder = (data or FOLDER).absolute()
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        del os.environ[name]  # nothing of a real installation's reaches the demonstration
    now = datetime.now(UTC)
    place.make_private(folder)
    with place.claimed(folder):
        plan = _kept(folder, now)
        if plan is None:
            _put_aside(folder, now)
            up.say("Making up names, certificates and 90 days of past …")
            plan = _make(folder, port, now)
        _point_at(folder, plan)
        settings = place.settings(port=port, data=folder)
        child = Child("demo-servers", (sys.executable, "-m", "demo.servers", str(folder)), stop_s=5)
        servers = up.Beside(child, lambda: listening(plan))
        up.run(settings, folder, beside=servers, also=[f"All of it is made up. Sign in as {EMAIL} with the password: {PASSWORD}"])


def _refuse_production() -> None:
    """Raises Sorry where this machine's settings are those of an installation that people rely on."""
    try:
        production = Settings.from_environment({name: value for name, value in os.environ.items() if name != "KEYCHEST_DEMO"}).production
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    if production:
        raise Sorry("This is a production installation, and a demonstration has no place beside it. Nothing was started.", MISCONFIGURED)


def _kept(folder: Path, now: datetime) -> dict[str, Any] | None:
    """What is there of today's demonstration; None where there is none, or one from before. Raises Sorry for a folder of another kind."""
    mark = folder / MARK
    if not mark.exists():
        if (folder / "keychest.db").exists():
            raise Sorry(f"{folder} holds a real installation. Nothing was touched; choose another folder with --data.", UNAVAILABLE)
        return None
    plan: dict[str, Any] = json.loads(mark.read_text())
    return plan if timedelta(0) <= now - datetime.fromisoformat(plan["made_at"]) < FRESH and plan.get("whole") else None


def _put_aside(folder: Path, now: datetime) -> None:
    """Move an older demonstration, known by its mark, into a folder beside the new one: somebody may have typed something into it."""
    if (folder / MARK).exists():
        before = folder / f"before-{now:%Y-%m-%dT%H%M%S}"
        before.mkdir(mode=0o700)
        for entry in [entry for entry in folder.iterdir() if entry.name != place.LOCK and not entry.name.startswith("before-")]:
            entry.rename(before / entry.name)
        up.say(f"The demonstration from before lies in {before}. Remove it when you like.")


def _make(folder: Path, port: int | None, now: datetime) -> dict[str, Any]:
    world = make_world(now)
    plan = write_world(world, folder, now)
    _point_at(folder, plan)
    settings = place.settings(port=port, data=folder)
    make_ready(settings, folder)
    with _sessions(settings) as sessions, sessions.writing() as session:
        token = issue_setup_link(session, Actor(terminal=True), now=now - PAST)
        actor = make_account(session, token, now - PAST)
        write_past(session, actor, world, plan["port"], now)
    status = settings.status_at(folder)
    status.mkdir(mode=0o755, parents=True)
    keep_tally(status / "measured.json", measured(now))
    plan["whole"] = True
    (folder / MARK).write_text(json.dumps(plan, indent=1))
    return plan


@contextmanager
def _sessions(settings: Settings) -> Iterator[Sessions]:
    with engine_for(settings, "portal") as engine:
        yield Sessions(engine)


def _point_at(folder: Path, plan: Mapping[str, Any]) -> None:
    """What the portal and the workers read their settings from."""
    os.environ |= {
        "KEYCHEST_DEMO": "on",
        "KEYCHEST_ENVIRONMENT": "development",
        "KEYCHEST_SCAN_ALLOW": NETWORK,
        "KEYCHEST_SCAN_ALLOW_ACCOUNTS": EMAIL,
        "KEYCHEST_EXTRA_ROOTS": str(folder / "demo" / "root.pem"),
        "KEYCHEST_RESOLVERS": f"127.0.0.1:{plan['dns_port']}",
    }
