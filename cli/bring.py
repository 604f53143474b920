"""`./keychest import FILE --account ACCOUNT --preview|--apply`: what people do in the portal, at the terminal."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy.orm import Session

from cli import place
from cli.db import engine_for, require_ready
from cli.export import account_named
from cli.words import USAGE, Sorry
from config import Settings
from core.actions.bundle_keys import own_vkeys
from core.actions.import_plan import OUTCOMES, Choices
from core.actions.imports import Preview, apply_import, hand_in, look_through
from core.actions.policy import Actor, Refused
from core.exports.archive import BundleRefused
from core.exports.content import Content, open_content
from core.net.text import visible
from core.store.accounts import Account, accounts_allowed
from core.store.db import Sessions
from core.store.imported import import_by_ref

REFUSED: Final = 1
_SHOWN: Final = 20


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--account", "named", required=True, help="Its reference or name, as ./keychest account list shows it.")
@click.option("--preview/--apply", "preview", default=None, help="Say what would change, or change it.")
@click.option("--take-theirs", is_flag=True, help="Where notes or responsible people differ, take the file's.")
@click.option("--require-factor", is_flag=True, help="Ask members for a second factor, if the file says so.")
@click.option("--take-untrusted", is_flag=True, help="Take an export that nobody here vouches for.")
@click.option("--json", "as_json", is_flag=True, help="added, changed, skipped, refused and more, as JSON.")
@place.data_option
def import_command(file: Path, named: str, preview: bool | None, as_json: bool, data: Path | None, **chosen: bool) -> int:
    """Bring FILE into an account: an export, a list of names, a table, a backup of Uptime Kuma. Exit 0 done, 1 refused, 64 wrong words."""
    if preview is None:
        raise Sorry("Say --preview to see what would change, or --apply to change it. Nothing was changed.", USAGE)
    settings = place.settings(data=data)
    require_ready(settings, data)
    choices = Choices(theirs=chosen["take_theirs"], factor=chosen["require_factor"], trusted=chosen["take_untrusted"])
    with engine_for(settings, "worker") as engine:
        sessions = Sessions(engine)
        with sessions.reading() as session:
            account, own = account_named(session, named), own_vkeys(session, settings.data)
        try:
            with open_content(file, own_vkeys=own) as content:
                done = _done(sessions, settings, account, file, content, choices=choices, preview=preview)
                print(json.dumps(_told(done, content), indent=1) if as_json else _words(done, content, preview=preview))
        except (BundleRefused, Refused) as error:
            print(json.dumps({"error": str(error)}) if as_json else f"{error}")
            return REFUSED
        except OSError as error:
            raise Sorry(f"{file} cannot be read: {error.strerror}. Nothing was changed.") from None
    return 0


def _done(
    sessions: Sessions, settings: Settings, account: Account, file: Path, content: Content, *, choices: Choices, preview: bool
) -> Preview:  # fmt: skip
    now = datetime.now(UTC)
    actor = Actor(account_id=account.id, account_ref=account.ref, role="owner", terminal=True)
    if preview:
        with sessions.reading() as session:
            return look_through(session, actor, content, choices, now=now)
    with sessions.writing() as session:
        private = account.id in accounts_allowed(session, settings.scan_allow_accounts) if settings.scan_allow else False
        return _applied(session, actor, file, content, choices, private_ranges=private, now=now)


def _applied(
    session: Session, actor: Actor, file: Path, content: Content, choices: Choices, *, private_ranges: bool, now: datetime
) -> Preview:  # fmt: skip
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    ref = hand_in(session, actor, name=file.name, size=file.stat().st_size, sha256=sha256, now=now)
    row = import_by_ref(session, actor.account_id or 0, ref)
    if row is None:
        raise Refused("The import is gone again. Nothing was changed.")
    return apply_import(session, actor, row, content, choices, private_ranges=private_ranges, now=now)


def _told(done: Preview, content: Content) -> dict[str, Any]:
    items = [{"outcome": item.outcome, "name": item.name, "why": item.why} for item in done.plan.items]
    return done.summary | {"form": content.form, "trust": content.trust, "signer": content.signer, "items": items}


def _words(done: Preview, content: Content, *, preview: bool) -> str:
    counts = done.plan.counts
    numbers = ", ".join(f"{outcome} {counts[outcome]:,}" for outcome in OUTCOMES)
    lines = [f"{'Would be' if preview else 'Done:'} {numbers}."]
    if done.history is not None:
        lines.append(f"History: {done.history.observations:,} observations and {done.history.incidents:,} incidents that are not here.")
    lines += [f"- {_spelled(each)}" for each in done.told]
    odd = [item for item in done.plan.items if item.outcome == "refused"]
    lines += [f"  refused: {_spelled(item.name)}: {_spelled(item.why)}" for item in odd[:_SHOWN]]
    if len(odd) > _SHOWN:
        lines.append(f"  and {len(odd) - _SHOWN:,} more; --json lists them all.")
    if content.trust in {"foreign", "unsigned", "broken"} and preview:
        lines.append("Nobody here vouches for this file: --apply takes it only with --take-untrusted.")
    return "\n".join(lines)


def _spelled(text: str) -> str:
    """What strangers wrote, with nothing in it that a terminal would obey."""
    return "".join(f"<{run}>" if hidden else run for hidden, run in visible(text))
