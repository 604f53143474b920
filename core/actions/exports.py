"""Taking an account's data out: asked for, made by a worker, downloaded by a link that works once, or by who proves who they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.letters import write_letter
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, allows, require, require_person, require_terminal, require_worker
from core.exports.form import HISTORIES
from core.exports.write import Made
from core.store.account_rules import binned_accounts
from core.store.accounts import Account, User, account_names, members_of
from core.store.base import IN_BIN_FOR, new_ref
from core.store.db import rowcount
from core.store.exports import Export, export_by_ref
from core.store.letters import usable_letter

KEPT_FOR: Final = timedelta(hours=24)
"""So long the file of an export lies here, and the link in the mail works."""
A_DAY: Final = 10
TRIES: Final = 3
"""So often an export is begun: what its worker dies of three times is told, and not tried for ever."""
_NOT_YOURS: Final = "This is not your password. Nothing was made."
_GONE: Final = "This export is not here any more: its file is kept for a day. Make another one."


def ask_export(session: Session, actor: Actor, *, history: str, checked: Checked, now: datetime) -> str:
    """The reference of the export that a worker makes now. Raises Refused for a wrong password, and where one is being made."""
    account_id = require(actor, Permission.EXPORT)
    require_password(session, require_person(actor), checked, Refused(_NOT_YOURS, "export_proof"))
    return _ask(session, actor, account_id, history, now)


def ask_export_of_binned(session: Session, actor: Actor, *, ref: str, checked: Checked, now: datetime) -> str:
    """As `ask_export`, of an account of the actor's that lies in the bin."""
    user_id = require_person(actor)
    require_password(session, user_id, checked, Refused(_NOT_YOURS, "export_proof"))
    found = next((each for each in binned_accounts(session, user_id, now - IN_BIN_FOR) if each.ref == ref), None)
    if found is None or not allows("owner", Permission.EXPORT):
        raise Refused("This account is not in the bin: it is back already, or lay there for over 30 days. Nothing was made.")
    as_owner = Actor(user_id=user_id, user_ref=actor.user_ref, account_id=found.id, account_ref=found.ref, role="owner")
    return _ask(session, as_owner, found.id, "all", now)


def _ask(session: Session, actor: Actor, account_id: int, history: str, now: datetime) -> str:
    if history not in HISTORIES:
        raise Refused("Choose how far back it goes. Nothing was made.", "history")
    session.scalar(sa.select(Account.id).where(Account.id == account_id).with_for_update())
    mine = (Export.account_id == account_id, Export.plan_id.is_(None))
    if session.scalar(sa.select(sa.exists().where(*mine, Export.state.in_(("waiting", "running"))))):
        raise Refused("An export of this account is being made already. Wait for that one.", "history")
    if (session.scalar(sa.select(sa.func.count()).where(*mine, Export.asked_at > now - timedelta(days=1))) or 0) >= A_DAY:
        raise Refused(f"{A_DAY} exports were made in 24 hours. Nothing was made; take the newest one.", "history")
    row = Export(ref=new_ref(), account_id=account_id, asked_by=actor.user_id, history=history, asked_at=now)
    session.add(row)
    session.flush()
    append(session, Event("export.asked.v1", now, actor.name, actor.account_ref, {}, {"export": row.ref, "history": history}))
    return row.ref


def take_export(session: Session, export_id: int, *, lease: timedelta, now: datetime) -> Export | None:
    """The export, in hand until the lease is over; None where another worker has it, or it is made."""
    free = sa.or_(Export.lease_until.is_(None), Export.lease_until <= now)
    mine = (Export.id == export_id, Export.state.in_(("waiting", "running")), free)
    values = {"state": "running", "lease_until": now + lease, "claim": Export.claim + 1, "step": "", "done": 0}
    taken = session.execute(sa.update(Export).where(*mine).values(values).execution_options(synchronize_session=False))
    return session.get(Export, export_id, populate_existing=True) if rowcount(taken) else None


def note_export(session: Session, export: Export, *, step: str, done: int, total: int, lease: timedelta, now: datetime) -> bool:
    """How far it is, and the lease anew. False where somebody else has it meanwhile."""
    mine = (Export.id == export.id, Export.claim == export.claim, Export.state == "running")
    values = {"step": step[:32], "done": done, "total": total, "lease_until": now + lease}
    return rowcount(session.execute(sa.update(Export).where(*mine).values(values).execution_options(synchronize_session=False))) == 1


def record_export(session: Session, actor: Actor, export: Export, *, made: Made, file: str, now: datetime) -> bool:
    """It is whole: its person gets a mail, or its place is next. False where somebody else has it meanwhile."""
    require_worker(actor)
    row = session.get_one(Export, export.id, with_for_update=True, populate_existing=True)
    if row.claim != export.claim or row.state != "running":
        return False
    row.state, row.ready_at, row.expires_at, row.lease_until = "ready", now, now + KEPT_FOR, None
    row.file, row.bytes, row.sha256, row.names = file, made.bytes, made.sha256, made.counts.get("domains", 0)
    if row.plan_id is not None:
        row.deliver_at = now
    account = account_names(session, [row.account_id])[row.account_id]
    if row.asked_by is not None and row.plan_id is None:
        user = session.get_one(User, row.asked_by)
        words = {"account": account, "size": _size(made.bytes), "sha256": made.sha256}
        write_letter(
            session, "export_ready", email=user.email, user_id=user.id, account_id=row.account_id, about=row.ref, words=words,
            lasts=KEPT_FOR, now=now,
        )  # fmt: skip
    ref = session.get_one(Account, row.account_id).ref
    public = {"names": row.names, "bytes": row.bytes}
    append(session, Event("export.made.v1", now, actor.name, ref, public, {"export": row.ref, "sha256": row.sha256}))
    return True


def _size(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"  # noqa: PLR2004 - a tenth of a megabyte


def fail_export(session: Session, actor: Actor, export: Export, *, error: str, now: datetime) -> None:
    """It did not come about: tried again, and given up after the third time."""
    require_worker(actor)
    row = session.get_one(Export, export.id, with_for_update=True, populate_existing=True)
    if row.claim != export.claim or row.state != "running":
        return
    row.error, row.lease_until = error[:500], now + timedelta(minutes=1)
    if row.claim < TRIES:
        return
    row.state, row.lease_until = "failed", None
    ref = session.get_one(Account, row.account_id).ref
    append(session, Event("export.failed.v1", now, actor.name, ref, {}, {"export": row.ref, "why": row.error}))


def use_link(session: Session, actor: Actor, *, token_sha256: str, now: datetime) -> Export:
    """The export that the link in a mail is for: once, and for who it was mailed to alone. Raises Refused."""
    letter = usable_letter(session, "export_ready", token_sha256, now)
    if letter is None or letter.user_id != require_person(actor):
        raise Refused("This link was used, has run out, or is for somebody else. Who asked for the export finds it under Exports.")
    row = session.scalar(sa.select(Export).where(Export.ref == letter.about, Export.state == "ready"))
    owners = {each.user_id for each in members_of(session, [row.account_id]) if allows(each.role, Permission.EXPORT)} if row else set()
    if row is None or letter.user_id not in owners:
        raise Refused(_GONE)
    letter.used_at = now
    append(session, _downloaded(session, actor, row, now))
    return row


def download_export(session: Session, actor: Actor, *, ref: str, checked: Checked, now: datetime) -> Export:
    """The account's export with this reference, for who proves who they are. Raises Refused."""
    account_id = require(actor, Permission.EXPORT)
    require_password(session, require_person(actor), checked, Refused("This is not your password. Nothing was sent.", "download_proof"))
    row = export_by_ref(session, account_id, ref)
    if row is None or row.state != "ready":
        raise Refused(_GONE)
    append(session, _downloaded(session, actor, row, now))
    return row


def _downloaded(session: Session, actor: Actor, row: Export, now: datetime) -> Event:
    row.downloaded_at = now
    ref = session.get_one(Account, row.account_id).ref
    return Event("export.downloaded.v1", now, actor.name, ref, {}, {"export": row.ref, "sha256": row.sha256})


def told_taken(session: Session, actor: Actor, *, account_ref: str, made: Made, now: datetime) -> None:
    """The terminal took an export out."""
    require_terminal(actor)
    public = {"names": made.counts.get("domains", 0), "bytes": made.bytes}
    append(session, Event("export.made.v1", now, actor.name, account_ref, public, {"export": "", "sha256": made.sha256}))


def list_downloaded(session: Session, actor: Actor, *, name: str, rows: int, now: datetime) -> None:
    """A member took a list along."""
    require(actor, Permission.READ)
    require_person(actor)
    append(session, Event("list.downloaded.v1", now, actor.name, actor.account_ref, {"list": name, "rows": rows}))


def expire_exports(session: Session, *, now: datetime) -> list[str]:
    """The files that are to be removed, since their day is over; one that is still on its way to its place stays."""
    rows = session.scalars(sa.select(Export).where(Export.state == "ready", Export.expires_at <= now, Export.deliver_at.is_(None))).all()
    for row in rows:
        row.state = "gone"
    return [row.file for row in rows]
