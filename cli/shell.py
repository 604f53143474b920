"""`./keychest shell`: Python on the store, for what nothing else is made for. Everybody can read that somebody was there, and why."""

from __future__ import annotations

import code
import getpass
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from cli import place
from cli.db import engine_for, require_ready
from cli.words import USAGE, Sorry
from config import Settings
from core.actions.access import close_shell, open_shell
from core.actions.policy import Actor, Refused
from core.store.base import Base
from core.store.db import Sessions, make_engine

_TERMINAL = Actor(terminal=True)


@click.command("shell")
@click.option("--reason", required=True, help="Why. Strangers read it on the status page.")
@click.option("--write", is_flag=True, help="May change rows: what session.commit() has not kept is thrown away.")
@place.data_option
def shell(*, reason: str, write: bool, data: Path | None) -> None:
    """Open a Python shell on the store: `session`, `sa`, and every table's class. It only reads, unless --write is given.

    It is an access to production: its beginning, its end, its kind and its reason are public, and cannot be taken back.
    """
    settings = place.settings(data=data)
    require_ready(settings, data)
    person = os.environ.get("SUDO_USER") or getpass.getuser()
    with engine_for(settings, "portal") as engine:
        sessions = Sessions(engine)
        try:
            with sessions.writing() as session:
                place_of_it = f"shell:{process(os.getpid())}"
                ref = open_shell(session, _TERMINAL, reason=reason, person=person, place=place_of_it, writing=write, now=datetime.now(UTC))
        except Refused as refusal:
            raise Sorry(str(refusal), USAGE) from None
        try:
            with _opened(settings, sessions, write=write) as session:
                _talk(session, write=write)
        finally:
            with sessions.writing() as session:
                close_shell(session, _TERMINAL, ref=ref, now=datetime.now(UTC))


def process(pid: int) -> str:
    """Which process that is: of which machine, boot and namespace, its number, and when it began. "" for one that nobody can tell."""
    try:
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        namespace = Path(f"/proc/{pid}/ns/pid").readlink().name.strip("pid:[]")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        machine = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]
    except (OSError, IndexError):
        return ""
    return f"{machine}:{boot}:{namespace}:{pid}:{began}"


def is_gone(place: str) -> bool:
    """Whether the process is gone, as far as this one can tell: of another machine, or of another namespace, it cannot."""
    machine, boot, namespace, pid, began = [*place.removeprefix("shell:").split(":"), *[""] * 5][:5]
    mine = process(os.getpid()).split(":")
    if not began or not pid.isdecimal() or not all(mine) or machine != mine[0]:
        return False
    if boot != mine[1]:
        return True  # the machine was started again since
    if namespace != mine[2]:
        return False
    return process(int(pid)).split(":")[-1] != began


@contextmanager
def _opened(settings: Settings, sessions: Sessions, *, write: bool) -> Iterator[Session]:
    if write:
        with Session(sessions.engine) as session:
            yield session
        return
    url = sa.make_url(settings.database("portal"))
    if url.drivername.startswith("sqlite"):
        engine = make_engine(f"sqlite:///file:{url.database}?mode=ro&uri=true")
    else:
        engine = make_engine(url.render_as_string(hide_password=False))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("SET TRANSACTION READ ONLY"))
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def _talk(session: Session, *, write: bool) -> None:
    names: dict[str, Any] = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}
    names |= {"sa": sa, "session": session}
    changes = "What session.commit() has not kept is thrown away." if write else "It only reads."
    code.interact(banner=f"KeyChest's store: session, sa, and every table's class. {changes} Ctrl-D ends it.", local=names, exitmsg="")
