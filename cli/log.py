"""`./keychest log`: how the log stands, a new key, another log after a restore, and erasing what only we know."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.erasing import Place, private_naming, private_of_account, private_of_person
from audit.keeper import Keeper, KeeperError
from audit.sequencer import newest
from audit.tables import Log, LogEntry, OutboxEvent, PrivatePart
from cli import place, sequencer
from cli.db import engine_for, require_ready
from cli.words import UNAVAILABLE, USAGE, Sorry
from core.actions.logs import continue_log, erase_from_log
from core.actions.policy import Actor, Refused
from core.store.accounts import user_by_email
from core.store.db import Sessions

PATIENCE_S = 15.0


@click.group("log")
def log() -> None:
    """Look after the log that cannot be quietly rewritten."""


@log.command("status")
@place.data_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status_command(data: Path | None, as_json: bool) -> int:
    """Say how the log stands. Exit 0 it goes on, 1 it does not (says why)."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    with engine_for(settings, "audit") as engine, Sessions(engine).reading() as session:
        found = newest(session)
        waiting = session.scalar(sa.select(sa.func.count()).select_from(OutboxEvent)) or 0
    told = _told(found, waiting) | {"folder": str(settings.log_at(settings.data))}
    print(json.dumps(told, indent=1) if as_json else _words(told))
    return 1 if found is not None and found.trouble else 0


@log.command("continue")
@click.option("--reason", required=True, help="Why: strangers read it in the first entry of the new log.")
@place.data_option
def continue_command(reason: str, data: Path | None) -> None:
    """Begin a log that follows one which cannot go on, after a restore. Its first entry names the old one, and the reason."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    keeper = Keeper(settings.log_at(settings.data))
    try:
        with engine_for(settings, "audit") as engine, Sessions(engine).writing() as session:
            origin = session.scalar(sa.select(Log.origin).where(Log.number == 1)) or settings.origin(place.public_url(settings))
            number = continue_log(
                session, Actor(terminal=True), reason=reason, origin=origin, signed_before=keeper.newest(), now=datetime.now(UTC)
            )
    except Refused as error:
        raise Sorry(str(error), USAGE) from None
    print(f"Log {number} begins with the next turn of the sequencer; what happened meanwhile goes into it. The old log stays as it is.")


@log.command("rotate-key")
@place.data_option
def rotate_command(data: Path | None) -> None:
    """Sign checkpoints by a new key from now on. An entry that both keys sign tells it; the old key is gone then."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    keeper = Keeper(settings.log_at(settings.data))
    try:
        keeper.make_next_key()
        end = time.monotonic() + PATIENCE_S
        while keeper.next_key() is not None and time.monotonic() < end:
            time.sleep(0.1)
        taken = keeper.next_key() is None
    except (OSError, KeeperError) as error:
        raise Sorry(f"No new key could be made: {error}. The old one is in use.", UNAVAILABLE) from error
    if not taken:
        print("A new key waits. The sequencer takes it with its next turn: it does not run now, or signs nothing (./keychest log status).")
        return
    print("The log is signed by a new key. The recovery kit is renewed within five minutes; ./keychest backup now makes one at once.")


@log.command("erase")
@click.option("--account", default="", help="Everything of an account, by its reference (./keychest account list).")
@click.option("--user", "email", default="", help="Everything that somebody did, and what names their address.")
@click.option("--entry", type=int, help="One entry, by its index.")
@click.option("--log", "number", type=int, default=1, show_default=True, help="In which log that entry is.")
@click.option("--why", required=True, help="Kept with the act; strangers do not see it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place.data_option
def erase_command(*, account: str, email: str, entry: int | None, number: int, why: str, yes: bool, data: Path | None) -> None:
    """Erase the private parts of entries for good: who, in which account, and every value. What strangers see stays, and every proof."""
    if sum((bool(account), bool(email), entry is not None)) != 1:
        raise Sorry("Name one of --account, --user and --entry. Nothing was erased.", USAGE)
    settings = place.settings(data=data)
    require_ready(settings, data)
    with engine_for(settings, "audit") as engine:
        with Sessions(engine).reading() as session:  # a writer would hold up everybody while a person thinks
            user_ref = _ref_of(session, email) if email else ""
            many = len(_places(session, account, user_ref, email, (number, entry)))
        if not yes and not click.confirm(f"Erase the private parts of {many:,} entries for good?", default=False):
            print("Nothing was erased.")
            return
        with Sessions(engine).writing() as session:
            places = _places(session, account, user_ref, email, (number, entry))
            erased = erase_from_log(session, Actor(terminal=True), places=places, user_ref=user_ref, why=why, now=datetime.now(UTC))
    print(f"The private parts of {erased:,} entries are erased. Every proof holds as before.")
    print("Older backups have them until they are gone; after a restore the list in the log's folder erases them again.")


@log.command("run")
@place.data_option
def run_command(data: Path | None) -> int:
    """Run the sequencer alone, until Ctrl-C: for an installation whose log has a user of its own. `up` runs one by itself."""
    settings = place.settings(data=data)
    os.environ.update(place.environment(settings))
    return sequencer.main()


def _ref_of(session: Session, email: str) -> str:
    person = user_by_email(session, email)
    if person is None:
        raise Sorry(f"Nobody here has the address {email}. Nothing was erased.", USAGE)
    return person.ref


def _places(session: Session, account: str, user_ref: str, email: str, entry: tuple[int, int | None]) -> list[Place]:
    if account:
        return private_of_account(session, account)
    if user_ref:
        return sorted({*private_of_person(session, user_ref), *private_naming(session, user_ref), *private_naming(session, email)})
    number, index = entry
    found = session.get(PrivatePart, (number, index))
    if found is None and session.get(LogEntry, (number, index)) is None:
        raise Sorry(f"Log {number} has no entry {index}. Nothing was erased.", USAGE)
    return [(found.log, found.index)] if found is not None else []


def _told(found: Log | None, waiting: int) -> dict[str, Any]:
    if found is None:
        return {"begun": False, "waiting": waiting, "trouble": ""}
    return {
        "begun": True, "log": found.number, "origin": found.origin, "size": found.size, "waiting": waiting, "trouble": found.trouble,
        "signed_at": found.signed_at.isoformat() if found.signed_at else None,
    }  # fmt: skip


def _words(told: dict[str, Any]) -> str:
    if not told["begun"]:
        return f"The log has not begun: ./keychest up, or ./keychest log run, begins it. {told['waiting']:,} events wait."
    signed = f", signed {told['signed_at'][:16].replace('T', ' ')} UTC" if told["signed_at"] else ", not signed yet"
    lines = [f"{told['origin']}: {told['size']:,} entries{signed}. {told['waiting']:,} events wait. Its files are in {told['folder']}."]
    return "\n".join([*lines, *([told["trouble"]] if told["trouble"] else [])])
