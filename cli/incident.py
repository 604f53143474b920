"""`./keychest incident`: what the public is told of disturbances and of planned work, from the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli import place
from cli.db import engine_for, require_ready
from cli.words import USAGE, Sorry
from core.actions import public_incidents as acts
from core.actions.policy import Actor, Refused
from core.status.told import COMPONENTS
from core.store.db import Sessions
from core.store.public_incidents import DISTURBED, IMPACTS, PLANNED, IncidentRow, incidents_in_hand, incidents_over

_OVER = 20
_words = click.option("--words", required=True, help="What people notice, and what is being done; at most 4,000 characters.")
_anyway = click.option("--anyway", is_flag=True, help="A name in it is meant: publish it though it is somebody's here.")
_parts = click.Choice(list(COMPONENTS))
_component = click.option("--component", "components", multiple=True, required=True, type=_parts, help="What it concerns; may be repeated.")


@click.group("incident")
def incident() -> None:
    """Tell the public of incidents and of planned work."""


@incident.command("open")
@click.argument("title")
@_component
@click.option("--impact", type=click.Choice(IMPACTS), default="minor", show_default=True, help="How bad it is.")
@_words
@_anyway
@place.data_option
def open_command(data: Path | None, **given: Any) -> None:
    """Tell the public of a disturbance, at once."""
    ref = _act(data, acts.open_public_incident, **given)
    print(f"Incident {ref} is public. Say how it goes on by: ./keychest incident update {ref} --state identified --words ...")


@incident.command("plan")
@click.argument("title")
@_component
@click.option("--from", "planned_from", required=True, help="When the work begins, in UTC: 2026-11-30T22:00.")
@click.option("--until", "planned_until", required=True, help="When it ends.")
@_words
@_anyway
@place.data_option
def plan_command(data: Path | None, planned_from: str, planned_until: str, **given: Any) -> None:
    """Tell the public of work before it begins."""
    ref = _act(data, acts.plan_maintenance, planned_from=_time(planned_from), planned_until=_time(planned_until), **given)
    print(f"The work is announced as {ref}.")


@incident.command("update")
@click.argument("ref")
@click.option("--state", required=True, type=click.Choice([*DISTURBED[:-1], *PLANNED[:-1]]), help="How it stands.")
@click.option("--impact", type=click.Choice(["", *IMPACTS]), default="", help="How bad it is, where that has changed.")
@_words
@_anyway
@place.data_option
def update_command(data: Path | None, **given: Any) -> None:
    """Say how an incident or planned work goes on."""
    _act(data, acts.update_public_incident, **given)
    print("What you wrote stands with the incident, and is as public as that is.")


@incident.command("resolve")
@click.argument("ref")
@_words
@_anyway
@place.data_option
def resolve_command(data: Path | None, **given: Any) -> None:
    """Say that it is over."""
    _act(data, acts.resolve_public_incident, **given)
    print(f"It is over. Tell what had happened by: ./keychest incident account {given['ref']} --words ...")


@incident.command("account")
@click.argument("ref")
@click.option("--words", "account", required=True, help="What had happened, why, and what will be different; at most 20,000 characters.")
@_anyway
@place.data_option
def account_command(data: Path | None, **given: Any) -> None:
    """Tell the public what had happened in an incident that is over, and why."""
    _act(data, acts.write_post_mortem, **given)
    print("The account is public.")


@incident.command("publish")
@click.argument("ref")
@_anyway
@place.data_option
def publish_command(data: Path | None, **given: Any) -> None:
    """Make public now what the watchdog opened, also what was kept back."""
    _act(data, acts.publish_public_incident, **given)
    print("It is public, and on its way to who asked for mails.")


@incident.command("withhold")
@click.argument("ref")
@place.data_option
def withhold_command(data: Path | None, **given: Any) -> None:
    """Keep back what the watchdog opened: it does not become public by itself."""
    _act(data, acts.withhold_public_incident, **given)
    print("It is kept back: it does not become public by itself.")


@incident.command("list")
@click.option("--json", "as_json", is_flag=True, help="A list of all fields, with the updates.")
@place.data_option
def list_command(as_json: bool, data: Path | None) -> None:
    """List what is open or waits to become public, and the newest of what is over. Nothing is changed."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    with engine_for(settings, "portal") as engine, Sessions(engine).reading() as session:
        rows = {each.ref: each for each in (*incidents_in_hand(session), *incidents_over(session, _OVER))}
    if as_json:
        print(json.dumps([_plain(each) for each in rows.values()], indent=1, default=lambda at: at.isoformat()))
        return
    ref = Column("Incident", no_wrap=True, min_width=16)
    table = Table(ref, "Title", "State", "Impact", "Seen by", "Opened", box=None)
    for each in rows.values():
        table.add_row(each.ref, Text(each.title), each.state, each.impact, _seen(each), f"{each.opened_at:%Y-%m-%d %H:%M} UTC")
    Console().print(table if rows else "There is no incident, and there was none.")


def _plain(row: IncidentRow) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"standing": row.standing}


def _seen(row: IncidentRow) -> str:
    at = f", {row.publish_at:%H:%M} UTC" if row.standing == "waiting" and row.publish_at else ""
    return {"public": "everybody", "withheld": "operators", "waiting": f"operators until it is public{at}"}[row.standing]


def _time(typed: str) -> datetime:
    """Raises Sorry."""
    try:
        at = datetime.fromisoformat(typed)
    except ValueError:
        raise Sorry(f"{typed} is no time. Write it in UTC, like 2026-11-30T22:00. Nothing was changed.", USAGE) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _act(data: Path | None, act: Callable[..., Any], **given: Any) -> Any:
    """What the act gives that is done from this terminal, in one transaction. Raises Sorry where it is refused."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    try:
        with engine_for(settings, "portal") as engine, Sessions(engine).writing() as session:
            return act(session, Actor(terminal=True), **given, now=datetime.now(UTC))
    except Refused as refusal:
        raise Sorry(f"{refusal}{' --anyway says so.' if refusal.field == 'anyway' else ''}", USAGE) from None
