"""`./keychest export ACCOUNT --out FILE`: all that an account holds, as one signed file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from cli import place
from cli.db import engine_for, require_ready
from cli.words import UNAVAILABLE, USAGE, Sorry
from config import Settings
from core.actions.bundle_keys import signing_key
from core.actions.exports import told_taken
from core.actions.policy import Actor
from core.exports.form import HISTORIES
from core.exports.keys import BundleKeyError
from core.exports.write import SOFTWARE, Made, Whence, log_head, reading, write_bundle
from core.store.accounts import Account
from core.store.db import Sessions

_TERMINAL: Final = Actor(terminal=True)


@click.command("export")
@click.argument("account")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write. One that is there is not written over.")
@click.option("--history", type=click.Choice(list(HISTORIES)), default="all", show_default=True, help="How far back it goes.")
@click.option("--json", "as_json", is_flag=True, help="bytes, sha256, counts and signer as JSON.")
@place.data_option
def export_command(account: str, out: Path, history: str, as_json: bool, data: Path | None) -> None:
    """Write all that ACCOUNT (its reference or name) holds into a signed ZIP file. `python -m core.exports check FILE` checks it."""
    settings = place.settings(data=data)
    require_ready(settings, data)
    now = datetime.now(UTC)
    with engine_for(settings, "worker") as engine:
        sessions = Sessions(engine)
        with sessions.reading() as session:
            found = account_named(session, account)
        whence = _whence(sessions, settings, now)
        made = _written(sessions, found, out, whence, history=history, now=now)
        with sessions.writing() as session:
            told_taken(session, _TERMINAL, account_ref=found.ref, made=made, now=now)
    if as_json:
        told = {"bytes": made.bytes, "sha256": made.sha256, "counts": dict(made.counts), "signer": whence.key.vkey}
        print(json.dumps(told, indent=1))
        return
    print(f"{out} has {made.counts['domains']:,} names and {made.counts['observations']:,} observations, in {made.bytes:,} bytes.")
    print(f"SHA-256 {made.sha256}")
    print(f"Anybody checks it: python -m core.exports check {out} --key {whence.key.vkey}")


def account_named(session: Session, named: str) -> Account:
    """The account with this reference or name, outside the bin. Raises Sorry where there is none, or several."""
    called = sa.or_(Account.ref == named, Account.name == named)
    found = session.scalars(sa.select(Account).where(called, Account.deleted_at.is_(None))).all()
    if not found:
        raise Sorry(f"No account is called {named!r}. ./keychest account list shows them. Nothing was changed.", USAGE)
    if len(found) > 1:
        raise Sorry(f"{len(found)} accounts are called {named!r}: give the reference, as ./keychest account list shows it.", USAGE)
    return found[0]


def _whence(sessions: Sessions, settings: Settings, now: datetime) -> Whence:
    url = place.public_url(settings)
    try:
        with sessions.writing() as session:
            key = signing_key(session, _TERMINAL, data=settings.data, public_url=url, now=now)
    except (BundleKeyError, OSError) as error:
        raise Sorry(f"The key that signs exports cannot be used: {error}", UNAVAILABLE) from None
    return Whence(url, SOFTWARE, key, log_head(settings.log_at(settings.data) / "public"))


def _written(sessions: Sessions, account: Account, out: Path, whence: Whence, *, history: str, now: datetime) -> Made:
    """The file appears whole or not at all."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Sorry(f"{out} cannot be written ({error.strerror}). Nothing was written over.", UNAVAILABLE) from None
    try:
        with os.fdopen(descriptor, "wb") as file, reading(sessions) as session:
            made = write_bundle(session, account.id, file, whence=whence, history=history, now=now)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return made
