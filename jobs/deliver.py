"""Exports that plans made, handed to the accounts' own places."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Final

from core.actions.export_plans import reader_of, record_delivered, record_undelivered, take_delivery_of
from core.actions.policy import Actor
from core.channels import Letter
from core.channels.mail import MailChannel, spelled
from core.envelope import NotOpenedError
from core.exports.places import Parcel, hand_over, read_secret
from core.net.provider import trusting
from core.net.web import Undelivered, Way
from core.seal import Recipient, seal
from core.store.accounts import account_names, account_refs, accounts_allowed
from core.store.exports import Export, ExportPlan, plan_place
from jobs.context import Context
from jobs.exports import folder

WORKER: Final = Actor(worker=True)
LEASE: Final = timedelta(minutes=5)
"""And as long as a slow line takes for the file (core.exports.places.Parcel)."""
MOST_MAILED: Final = 5_000_000
log = logging.getLogger("keychest.deliver")


def deliver(context: Context, export_id: int) -> None:
    """Hand one export to its place. What does not get there is told, and tried again."""
    with context.sessions.writing() as session:
        taken = take_delivery_of(session, export_id, lease=LEASE, now=context.now())
        session.expunge_all()
    export, plan = taken if taken is not None else (None, None)
    if export is None or plan is None:
        return
    try:
        _hand_over(context, export, plan)
    except (Undelivered, NotOpenedError) as error:
        _undelivered(context, export, str(error), again=getattr(error, "again", False))
    except OSError as error:
        _undelivered(context, export, f"The file cannot be read here: {error.strerror}.", again=True)
    else:
        with context.sessions.writing() as session:
            record_delivered(session, WORKER, export=export, now=context.now())
        log.info("an export is at its place (%s)", plan.place)


def _undelivered(context: Context, export: Export, error: str, *, again: bool) -> None:
    log.info("an export did not reach its place")
    with context.sessions.writing() as session:
        record_undelivered(session, WORKER, export=export, error=error, again=again, now=context.now())


def _hand_over(context: Context, export: Export, plan: ExportPlan) -> None:
    with context.sessions.reading() as session:
        ref = account_refs(session, [plan.account_id])[plan.account_id]
        name = account_names(session, [plan.account_id])[plan.account_id]
        allowed = plan.account_id in accounts_allowed(session, context.scan_allow_accounts)
        to = reader_of(session, plan)
    parcel = _parcel(context, export, plan)
    if plan.place == "mail":
        _mail(context, plan, parcel, name, to)
        return
    secret = read_secret(context.keys.open(plan.sealed, plan_place(ref, plan.ref)))
    way = Way(context.resolvers, context.scan_allow if allowed else (), trusting(context.extra_roots))
    hand_over(plan.place, plan.address, secret, parcel, way)


def _parcel(context: Context, export: Export, plan: ExportPlan) -> Parcel:
    """The file, sealed to the account's own key where it gave one: once, so that all tries bring the same."""
    at = export.ready_at or context.now()
    path, name = folder(context.data) / export.file, f"keychest-{at:%Y-%m-%d-%H%M}.zip"
    if not plan.recipient:
        return Parcel(name, path, export.bytes, export.sha256, export.ref, context.now())
    sealed = path.with_name(f"{path.name}.age")
    if not sealed.exists():
        fresh = sealed.with_name(f"{sealed.name}.part")
        with path.open("rb") as plain, fresh.open("wb") as into:
            seal(plain, into, [Recipient(plan.recipient)], compress=False)
        fresh.replace(sealed)
    with sealed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Parcel(f"{name}.age", sealed, sealed.stat().st_size, sha256, export.ref, context.now())


def _mail(context: Context, plan: ExportPlan, parcel: Parcel, account: str, to: str) -> None:
    """Attached where it is small; else who made the plan is told where it is. Raises Undelivered."""
    if not to:
        raise Undelivered("Who made this plan may not export any more. Remove it, and make another one.", again=False)
    small = parcel.size <= MOST_MAILED
    how = "It is attached." if small else f"Too large for a mail, it is found for 24 hours under {context.public_url}/exports"
    subject = f"The {plan.every} export of {spelled(account)}"
    text = f"{subject}. {how}\n\nIt has {parcel.size:,} bytes. Its SHA-256 is\n{parcel.sha256}\n"
    file = (parcel.name, parcel.path.read_bytes()) if small else None
    letter = Letter(parcel.ref, to, subject, text, context.public_url, parcel.at, file=file)
    delivery = MailChannel(context.smtp_url, context.mail_from, context.data / "outbox").post(letter, lambda: True)
    if delivery.outcome == "failed":
        raise Undelivered(delivery.error)
