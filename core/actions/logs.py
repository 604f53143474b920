"""What the terminal decides about the log: that another one begins, what is erased, what was restored, which settings are others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.erasing import Place, erase_counted, erase_private
from audit.log import Event, append
from audit.tables import Log
from core.actions.policy import Actor, Refused, require_terminal, require_worker


def continue_log(session: Session, actor: Actor, *, reason: str, origin: str, signed_before: int, now: datetime) -> int:
    """Begin a log that follows one which cannot go on; its number. The sequencer makes its first entry, which names the other one and why.

    `signed_before`: the number of the newest log that a checkpoint is kept of outside the database. Quiet: that first entry is the event.
    Raises Refused where the log goes on, and for no reason.
    """
    require_terminal(actor)
    if not reason.strip():
        raise Refused("Say why with --reason: strangers read it in the first entry of the new log. Nothing was changed.", "reason")
    newest = session.scalars(sa.select(Log).order_by(Log.number.desc()).limit(1)).first()
    if newest is None or not newest.trouble:
        raise Refused("The log goes on as it is: nothing stands against it. Another one would be for nothing. Nothing was changed.")
    number = max(newest.number, signed_before) + 1
    session.add(
        Log(number=number, origin=f"{origin}/{number}", reason=reason.strip(), begun_at=now, size=0, frontier=b"", note="", trouble="")
    )
    session.flush()
    return number


def erase_from_log(session: Session, actor: Actor, *, places: Sequence[Place], user_ref: str = "", why: str, now: datetime) -> int:
    """Erase the private parts of these entries, and with `user_ref` what is counted of that person. How many entries. Proofs hold."""
    require_terminal(actor)
    erased = erase_private(session, list(places), now)
    counted = erase_counted(session, user_ref) if user_ref else 0
    if erased or counted:
        append(session, Event("log.erased.v1", now, actor.name, public={"entries": erased + counted}, private={"why": why}))
    return erased + counted


def forget_accounts(session: Session, actor: Actor, *, places: Sequence[Place], now: datetime) -> int:
    """Erase what the log keeps to itself about accounts that leave the bin for good. How many entries."""
    require_worker(actor)
    erased = erase_private(session, list(places), now)
    if erased:
        append(session, Event("log.erased.v1", now, actor.name, public={"entries": erased}, private={"why": "accounts left the bin"}))
    return erased


def note_restored(session: Session, actor: Actor, *, backup: str, same: bool, now: datetime) -> None:
    """Somebody at the terminal restored a backup: all that is in it was in their hands."""
    require_terminal(actor)
    append(session, Event("backup.restored.v1", now, actor.name, public={"backup": backup, "same": same}))


def note_settings(session: Session, actor: Actor, *, names: Sequence[str], now: datetime) -> None:
    """The installation was started with other settings than the last time."""
    require_terminal(actor)
    private = {"names": ", ".join(sorted(names))}
    append(session, Event("settings.changed.v1", now, actor.name, public={"settings": len(names)}, private=private))
