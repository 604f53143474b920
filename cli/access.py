"""`./keychest access`: which hosts are believed about who has access to them, what they report, and why somebody was there."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy.orm import Session

from cli import place
from cli.access_install import install_command
from cli.db import engine_for, require_ready
from cli.words import USAGE, Sorry
from core.actions.access import Taken, give_reason, retire_host, take_delivery, trust_host
from core.actions.policy import Actor, Refused
from core.actions.reported import looked_through
from core.net.text import visible
from core.reported import ReportError, host_of, read_delivery
from core.store.access import AccessLine, HostLine, accesses_since, host_named, hosts_there
from core.store.db import Sessions

T = TypeVar("T")
_MOST: Final = 10_000
_TERMINAL: Final = Actor(terminal=True)


@click.group("access")
def access() -> None:
    """Who has access to production: set a host up, believe it, see what it reports, say why."""


access.add_command(install_command)


@access.command("trust")
@click.argument("name")
@click.argument("key")
@place.data_option
def trust(name: str, key: str, data: Path | None) -> None:
    """Believe what KEY signs about the host NAME, which strangers read. `./keychest access install` on the host prints the key."""
    _act(data, lambda session, now: trust_host(session, _TERMINAL, name=name, public_key=key, now=now))
    print(f"{name} is trusted. It is told as silent when nothing is heard of it for five minutes.")


@access.command("retire")
@click.argument("name")
@place.data_option
def retire(name: str, data: Path | None) -> None:
    """Take no more reports of a host. What it reported stays."""
    _act(data, lambda session, now: retire_host(session, _TERMINAL, name=name, now=now))
    print(f"Nothing is taken from {name} any more. What it reported stays.")


@access.command("reason")
@click.argument("ref")
@click.argument("why")
@place.data_option
def reason(ref: str, why: str, data: Path | None) -> None:
    """Say WHY somebody had the access REF, where that was not said as it began. Strangers read it. Once."""
    if not _act(data, lambda session, now: give_reason(session, _TERMINAL, ref=ref, reason=why, now=now)):
        raise Sorry(f"No access has the reference {ref}. ./keychest access list shows them. Nothing was changed.", USAGE)
    print("It stands on the status page, and in the log that it was said later.")


@access.command("record")
@click.argument("file", type=click.File("r"), default="-")
@place.data_option
def record(file: IO[str], data: Path | None) -> None:
    """Take in deliveries that could not come by the network: one JSON object a line, as a host makes them. "-": standard input."""
    for number, line in enumerate(file, 1):
        if line.strip():
            taken = _act(data, functools.partial(_take, line))
            print(f"Line {number}: number {taken.next} is wanted next.{f' {taken.trouble}' if taken.trouble else ''}")


def _take(line: str, session: Session, now: datetime) -> Taken:
    """Raises Refused for what does not hold."""
    try:
        told = json.loads(line)
        host = host_named(session, host_of(told))
        if host is None:
            raise Refused(f"No host called {told['host']} is trusted. Nothing was taken.")
        delivery = read_delivery(told, host.name, host.public_key)
    except ReportError as error:
        raise Refused(f"{error} Nothing was taken.") from None
    except (json.JSONDecodeError, RecursionError):
        raise Refused("A line is no JSON. Nothing of it was taken.") from None
    return take_delivery(session, host_id=host.id, beat=delivery.beat, reports=looked_through(session, delivery), now=now)


@access.command("list")
@click.option("--json", "as_json", is_flag=True, help="Hosts and accesses, with every field.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 3650), help="Of the last so many days.")
@place.data_option
def list_command(*, as_json: bool, days: int, data: Path | None) -> None:
    """List hosts, and who had access when and why. Nothing is changed."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    now = datetime.now(UTC)
    with engine_for(settings, "portal") as engine, Sessions(engine).reading() as session:
        hosts = hosts_there(session)
        lines = accesses_since(session, now - timedelta(days=days), now, most=_MOST)
    if as_json:
        told = {"hosts": [dataclasses.asdict(each) for each in hosts], "accesses": [dataclasses.asdict(each) for each in lines]}
        print(json.dumps(told, indent=1, default=_written))
        return
    console = Console(file=sys.stdout)
    for table in _tables(hosts, lines):
        console.print(table)


def _tables(hosts: tuple[HostLine, ...], lines: tuple[AccessLine, ...]) -> Iterator[Table]:
    standing = Table("Host", "Heard", "Open", "Lost", "Refused", box=None)
    for host in hosts:
        heard = f"{host.heard_at:%Y-%m-%d %H:%M}" if host.heard_at else "never"
        standing.add_row(host.name, f"{heard}, silent" if host.silent_at else heard, str(host.open), str(host.lost), str(host.refused))
    yield standing
    table = Table(Column("Access", min_width=16), "Where", "Who", "When (UTC)", Column("Why", min_width=12), box=None)
    for each in lines:
        ended = f"{each.ended_at:%m-%d %H:%M}{'' if each.ending == 'closed' else ', lost'}" if each.ended_at else "open"
        who = Text("\n".join(_spelled(part) for part in (each.person, each.origin) if part))
        where = f"{each.host or 'the portal'}\n{each.kind}"
        table.add_row(each.ref, where, who, f"{each.started_at:%m-%d %H:%M}\n{ended}", Text(_spelled(each.reason or "no reason given")))
    yield table


def _spelled(text: str) -> str:
    """What others wrote, with nothing in it that a terminal would obey."""
    return "".join(f"<{run}>" if hidden else run for hidden, run in visible(text))


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _act(data: Path | None, act: Callable[[Session, datetime], T]) -> T:
    """What the act gives that is done from this terminal, in one transaction. Raises Sorry where it is refused."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            return act(session, datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(str(refusal), USAGE) from None
