"""`./keychest up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import broker, place
from cli.db import engine_for, make_ready
from cli.settings_seen import tell_changed
from cli.supervisor import Child, Supervisor
from cli.words import MISCONFIGURED, UNAVAILABLE, Sorry
from config import LOOPBACK, SettingError, Settings
from core.actions.accounts import issue_setup_link
from core.actions.policy import Actor
from core.backups import keys
from core.backups.engine import BackupError
from core.backups.pgbackrest_program import Program
from core.backups.plan import Plan
from core.broker import answers
from core.envelope import FILE, KeyFile, kept_key
from core.exports.keys import bundle_key, key_name
from core.scanner.roots import Roots, RootsUnreadable
from core.store.accounts import operator_exists
from core.store.db import Sessions
from demo import MARK

PATIENCE_S = 15.0
QUEUES = ("now", "scan", "ops")
BACKUP = "backup"
_BROKEN = " If its files in {} are damaged, remove that folder: it holds no work that the database does not know."


@click.command("up")
@click.option("--port", type=click.IntRange(0, 65535), help="Port the portal listens on; 0 for any free one.")
@click.option("--host", help="Address the portal listens on.")
@place.data_option
def up(port: int | None, host: str | None, data: Path | None) -> None:
    """Start everything here and keep it running: portal, workers, clock, and a broker unless REDIS_URL names one."""
    settings = place.settings(port=port, host=host, data=data)
    if (settings.data / MARK).exists():
        raise Sorry(f"{settings.data} holds a demonstration, whose password everybody knows. Choose another with --data.", MISCONFIGURED)
    place.make_private(settings.data)
    _check_roots(settings)
    with place.claimed(settings.data):
        run(settings, data)


@dataclass(frozen=True, slots=True)
class Beside:
    """A program that is kept running too, from before the first worker on; `ready`: whether it does by now what it is for."""

    child: Child
    ready: Callable[[], bool]


def run(settings: Settings, data: Path | None = None, *, beside: Beside | None = None, also: Sequence[str] = ()) -> None:
    """Keep an installation running on a data folder that is claimed; `data`: what --data said; `also`: lines to say.

    Raises Sorry for what stops the start.
    """
    _make_keys(settings)
    with listen(settings.host, settings.port) as listener:
        settings = dataclasses.replace(settings, port=listener.getsockname()[1])
        key_made = _development_key(settings)
        make_ready(settings, data)
        place.keep_address(settings)
        tell_changed(settings)
        setup_token = _setup_token(settings)
        own = _own_broker(settings)
        logs = settings.data / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        queues, backups = _backups(settings)
        first = Child("broker", own.argv, stop_s=10, orphaned_by=signal.SIGTERM) if own else None  # asked to end: it has a file to write
        before = [child for child in (first, beside and beside.child) if child]
        sealed = _sealed(settings)
        stages = (*([child] for child in before), *_stages(listener, queues, sealed=not sealed))
        supervisor = Supervisor(stages, _environment(settings, own), logs, say)
        supervisor.listen()
        if own and first:
            _start(supervisor, first, lambda: answers(own.url), _BROKEN.format(own.folder))
        if beside:
            _start(supervisor, beside.child, beside.ready, "")
        say(f"KeyChest is at http://localhost:{settings.port} (data in {settings.data}; Ctrl-C stops it).")
        for line in (*exposure(settings), *backups, *sealed, *also):
            say(line)
        if setup_token:
            say(f"Nobody has set it up yet. This link works once, for 24 hours: {settings.public_url}/setup/{setup_token}")
        if key_made:
            say(f"Backups are sealed to a recovery key made just now: {key_made}. Copy it to another place: nothing else opens them.")
        supervisor.run()
        if own:
            broker.tidy(own)
        say("Stopped. Everything is kept.")


def _make_keys(settings: Settings) -> None:
    """Before anything runs: the first backup's recovery kit is to hold them."""
    if not settings.secret_key:
        kept_key(settings.data / "secret-key")
    KeyFile(settings.data / FILE).make()
    bundle_key(settings.data, key_name(settings.public_url))


def _development_key(settings: Settings) -> str:
    """The recovery key's file where development made it just now, else ""; in production the private half is never here. Raises Sorry."""
    if settings.production or settings.backup_recovery_key:
        return ""
    try:
        _, made = keys.development_recovery(settings.data)
    except BackupError as error:
        raise Sorry(str(error), UNAVAILABLE) from None
    return str(settings.data / keys.RECOVERY_KEY) if made else ""


def exposure(settings: Settings) -> tuple[str, ...]:
    """What to know where other machines reach the portal; () where none does."""
    if settings.host in LOOPBACK:
        return ()
    kind = "runs as production: the schema is changed by ./keychest db upgrade alone" if settings.production else "runs as development"
    lines = [f"Other machines can reach it on {settings.host}. It {kind}."]
    if not settings.base_url:
        lines.append(
            f"Set KEYCHEST_BASE_URL: links in mails say {settings.public_url}, and nobody else reaches that. "
            "Signing in over plain HTTP shows passwords to the network: put a TLS proxy in front, and write its https:// address there."
        )
    return tuple(lines)


def _check_roots(settings: Settings) -> None:
    """Raises Sorry for roots that every scan would stumble over."""
    if settings.extra_roots:
        try:
            Roots.load(settings.extra_roots)
        except RootsUnreadable as error:
            raise Sorry(str(error), MISCONFIGURED) from None


def listen(host: str, port: int) -> socket.socket:
    """The socket of the portal, held here so that the port stays ours while the portal is started again. Raises Sorry."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise Sorry(f"{host} is no address of this machine ({error.strerror}). Choose one with --host.", UNAVAILABLE) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        why = (error.strerror or str(error)).lower()
        raise Sorry(
            f"Port {port} on {host} cannot be used: {why}. Choose another with --port, or 0 for any free one.", UNAVAILABLE
        ) from None
    return listener


def say(line: str) -> None:
    """Tell the terminal. A terminal that is gone must not end what it started."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of this process


def _setup_token(settings: Settings) -> str:
    with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
        if operator_exists(session):
            return ""
        return issue_setup_link(session, Actor(terminal=True), now=datetime.now(UTC))


def _own_broker(settings: Settings) -> broker.Broker | None:
    if settings.redis_url:
        return None
    try:
        own = broker.prepare(settings.data)
        broker.make_way(own)
    except broker.BrokerError as error:
        raise Sorry(str(error), UNAVAILABLE) from None
    return own


def _backups(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The queues that workers are started for, and what to know of backups: PostgreSQL's are made as the user its files belong to."""
    try:
        plan = Plan(**settings.backups())
    except SettingError as error:
        raise Sorry(str(error), MISCONFIGURED) from None
    if not plan.postgresql:
        return (*QUEUES, BACKUP), ()
    if not plan.pgbackrest_config:
        return QUEUES, ("Nothing is backed up: KEYCHEST_PGBACKREST_CONFIG is not set. docs/runbook.md says how.",)
    try:
        Program(Path(plan.pgbackrest_config), plan.pgbackrest_stanza).owner()
    except BackupError as error:
        return QUEUES, (f"Backups are made by ./keychest backup worker, to be started as another user: {error}",)
    return (*QUEUES, BACKUP), ()


def _sealed(settings: Settings) -> tuple[str, ...]:
    """Why the log is not sealed by this `up`, in a line; () where it is."""
    try:
        settings.database("audit")
    except SettingError:
        return (
            "Nothing is sealed into the log: DATABASE_URL_AUDIT is not set. What happens waits in the database. docs/runbook.md says how.",
        )
    return ()


def _stages(listener: socket.socket, queues: tuple[str, ...], *, sealed: bool) -> tuple[tuple[Child, ...], ...]:
    """Who is started, in this order; stopped in the reverse one."""
    workers = tuple(Child(f"worker-{queue}", (queue,), stop_s=20, module="jobs.worker") for queue in queues)
    portal = Child("portal", (str(listener.fileno()),), stop_s=10, keep_fds=(listener.fileno(),), module="wsgi")
    clock = Child("clock", (), stop_s=10, module="jobs.clock")
    sequencer = (Child("sequencer", (), stop_s=10, module="cli.sequencer"),) if sealed else ()
    status = Child("status", (), stop_s=10, module="cli.status_keeper")
    return sequencer, workers, (portal,), (clock,), (status,)


def _environment(settings: Settings, own: broker.Broker | None) -> dict[str, str]:
    """What the children read their settings from: ours, with what the command line changed."""
    environment = place.environment(settings)
    if own:
        environment["REDIS_URL"] = own.url
    return environment


def _start(supervisor: Supervisor, child: Child, ready: Callable[[], bool], excuse: str) -> None:
    """Start it alone and wait until it is ready. Raises Sorry where it is not in time."""
    supervisor.start([child])
    end = time.monotonic() + PATIENCE_S
    while not ready():
        if supervisor.stopping:
            return
        if supervisor.ended(child) or time.monotonic() > end:
            supervisor.stop()
            raise Sorry(f"The {child.name} did not start; its log is {supervisor.log_folder / f'{child.name}.log'}.{excuse}", UNAVAILABLE)
        time.sleep(0.01)
