"""Exports that are made by themselves, and what becomes of each on its way to the account's own place."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.exports import KEPT_FOR
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, allows, require, require_person, require_worker
from core.envelope import KeyFile
from core.exports.form import HISTORIES
from core.exports.places import PLACES, SLOWEST_BYTES_S, require_place
from core.seal import read_recipient
from core.store.accounts import Account, account_names, members_of
from core.store.base import new_ref
from core.store.exports import Export, ExportPlan, plan_place

EVERY: Final[Mapping[str, timedelta]] = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=30)}
MOST_PLANS: Final = 5
GIVEN_UP_AFTER: Final = timedelta(days=2)
FIRST_RETRY, LAST_RETRY = timedelta(minutes=5), timedelta(hours=6)
A_DAY: Final = 10
"""So many exports of one plan in 24 hours, however often one is asked for."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as it was typed. `secret` is of the place: keys by name; `recipient` a public key of the account's own, or ""."""

    every: str
    history: str
    place: str
    address: str
    secret: Mapping[str, str]
    recipient: str = ""


def make_plan(session: Session, actor: Actor, *, planned: Planned, keys: KeyFile, checked: Checked, now: datetime) -> tuple[str, str]:
    """The plan's reference, and the webhook's secret where it is one: shown once, and never again. Raises Refused."""
    account_id = require(actor, Permission.EXPORT)
    user = require_password(session, require_person(actor), checked, Refused("This is not your password. Nothing was made.", "plan_proof"))
    session.scalar(sa.select(Account.id).where(Account.id == account_id).with_for_update())
    live = (ExportPlan.account_id == account_id, ExportPlan.deleted_at.is_(None))
    if (session.scalar(sa.select(sa.func.count()).where(*live)) or 0) >= MOST_PLANS:
        raise Refused(f"There are {MOST_PLANS} plans already. Remove one first. Nothing was made.", "place")
    if planned.every not in EVERY or planned.history not in HISTORIES or planned.place not in PLACES:
        raise Refused("Choose how often, how far back, and where to. Nothing was made.", "place")
    address, secret, shown = _settled(planned, user.email)
    recipient = _recipient(planned.recipient)
    row = ExportPlan(
        ref=new_ref(), account_id=account_id, created_by=user.id, created_at=now, every=planned.every, history=planned.history,
        place=planned.place, address=address, recipient=recipient, next_at=now,
    )  # fmt: skip
    row.sealed = keys.seal(json.dumps(secret).encode(), plan_place(actor.account_ref, row.ref)) if secret else ""
    session.add(row)
    session.flush()
    public, private = {"every": row.every, "place": row.place}, {"plan": row.ref, "address": address}
    append(session, Event("export_plan.made.v1", now, actor.name, actor.account_ref, public, private))
    return row.ref, shown


def _settled(planned: Planned, email: str) -> tuple[str, dict[str, str], str]:
    """Address, secret, and what is shown of it once."""
    if planned.place == "mail":
        return email, {}, ""
    secret, shown = {key: value.strip() for key, value in planned.secret.items() if value.strip()}, ""
    if planned.place == "webhook":
        shown = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        secret = {"secret": shown}
    if "key" in secret:
        secret["key"] += "\n"
    address = planned.address.strip()
    try:
        require_place(planned.place, address, secret)
    except ValueError as error:
        raise Refused(f"{error} Nothing was made.", "address") from None
    return address, secret, shown


def _recipient(text: str) -> str:
    if not text.strip():
        return ""
    try:
        return read_recipient(text)
    except ValueError as error:
        raise Refused(f"To encrypt it, {error}. Nothing was made.", "recipient") from None


def remove_plan(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """No more exports by this plan. Raises Refused where there is none."""
    row = _own(session, require(actor, Permission.EXPORT), ref)
    row.deleted_at, row.sealed = now, ""
    append(session, Event("export_plan.removed.v1", now, actor.name, actor.account_ref, {}, {"plan": row.ref}))


def run_plan(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """Make and deliver one now. Raises Refused."""
    row = _own(session, require(actor, Permission.EXPORT), ref)
    if row.next_at > now - timedelta(minutes=1) and row.last_at is not None and now - row.last_at < timedelta(minutes=10):
        raise Refused("One was sent within ten minutes. Nothing was made.")
    lately = (Export.plan_id == row.id, Export.asked_at > now - timedelta(days=1))
    if (session.scalar(sa.select(sa.func.count()).where(*lately)) or 0) >= A_DAY:
        raise Refused(f"{A_DAY} were made in 24 hours. Nothing was made; the next one comes by the plan.")
    row.next_at = now
    append(session, Event("export.asked.v1", now, actor.name, actor.account_ref, {}, {"plan": row.ref, "history": row.history}))


def _own(session: Session, account_id: int, ref: str) -> ExportPlan:
    own = (ExportPlan.account_id == account_id, ExportPlan.ref == ref, ExportPlan.deleted_at.is_(None))
    row = session.scalar(sa.select(ExportPlan).where(*own).with_for_update())
    if row is None:
        raise Refused("This plan is not there any more. Nothing was changed.")
    return row


def plan_exports(session: Session, *, now: datetime) -> int:
    """Ask for the exports that plans want now. One that is still on its way lets the next one wait. How many were asked for."""
    due = (ExportPlan.deleted_at.is_(None), ExportPlan.next_at <= now, Account.deleted_at.is_(None))
    on_its_way = sa.exists().where(
        Export.plan_id == ExportPlan.id, sa.or_(Export.state.in_(("waiting", "running")), Export.deliver_at.is_not(None))
    )
    query = sa.select(ExportPlan).join(Account, Account.id == ExportPlan.account_id).where(*due, ~on_its_way).limit(50)
    rows = session.scalars(query.with_for_update(skip_locked=True, of=ExportPlan)).all()
    for row in rows:
        session.add(Export(ref=new_ref(), account_id=row.account_id, plan_id=row.id, history=row.history, asked_at=now))
        row.next_at, row.last_at = now + EVERY[row.every], now
    session.flush()
    return len(rows)


def take_delivery_of(session: Session, export_id: int, *, lease: timedelta, now: datetime) -> tuple[Export, ExportPlan | None] | None:
    """An export that is to be handed to its place, in hand until the lease is over; None where nobody waits for it any more.

    The plan is None where it was removed meanwhile: then it goes nowhere.
    """
    free = sa.or_(Export.lease_until.is_(None), Export.lease_until <= now)
    mine = (Export.id == export_id, Export.deliver_at.is_not(None), Export.deliver_at <= now, Export.state == "ready", free)
    row = session.scalar(sa.select(Export).where(*mine).with_for_update(skip_locked=True))
    if row is None:
        return None
    row.lease_until, row.attempts = now + lease + timedelta(seconds=row.bytes / SLOWEST_BYTES_S), row.attempts + 1
    session.flush()
    plan = session.get(ExportPlan, row.plan_id) if row.plan_id is not None else None
    if plan is None or plan.deleted_at is not None:
        row.deliver_at = row.lease_until = None
        session.flush()
        return row, None
    return row, plan


def reader_of(session: Session, plan: ExportPlan) -> str:
    """The address of today of who made the plan, as long as they may export; "" where they may not, or are gone."""
    members = members_of(session, [plan.account_id])
    return next((each.email for each in members if each.user_id == plan.created_by and allows(each.role, Permission.EXPORT)), "")


def record_delivered(session: Session, actor: Actor, *, export: Export, now: datetime) -> None:
    """It is at its place."""
    require_worker(actor)
    row, plan, account = _settle(session, export.id)
    if row.attempts != export.attempts:
        return
    row.delivered_at, row.deliver_at, row.lease_until, row.error = now, None, None, ""
    row.expires_at = max(row.expires_at or now, now + KEPT_FOR)
    plan.failures, plan.last_error = 0, ""
    private = {"export": row.ref, "plan": plan.ref, "sha256": row.sha256}
    append(session, Event("export.delivered.v1", now, actor.name, account.ref, {"place": plan.place}, private))


def record_undelivered(session: Session, actor: Actor, *, export: Export, error: str, again: bool, now: datetime) -> None:
    """It did not get there: tried again, later and later, for two days. Its people are told as it first fails, and as it is given up."""
    require_worker(actor)
    row, plan, account = _settle(session, export.id)
    if row.attempts != export.attempts:
        return
    row.error, row.lease_until, plan.last_error = error[:500], None, error[:500]
    over = row.ready_at is None or now - row.ready_at >= GIVEN_UP_AFTER or not again
    if not over:
        row.deliver_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(row.attempts - 1, 10))
    if row.attempts == 1 or over:
        _tell(session, plan, error, over=over, now=now)
    if over:
        row.deliver_at, plan.failures = None, plan.failures + 1
        append(session, Event("export.failed.v1", now, actor.name, account.ref, {}, {"export": row.ref, "why": row.error}))


def _settle(session: Session, export_id: int) -> tuple[Export, ExportPlan, Account]:
    row = session.get_one(Export, export_id, with_for_update=True, populate_existing=True)
    plan = session.get_one(ExportPlan, row.plan_id, with_for_update=True, populate_existing=True)
    return row, plan, session.get_one(Account, row.account_id)


def _tell(session: Session, plan: ExportPlan, error: str, *, over: bool, now: datetime) -> None:
    name = account_names(session, [plan.account_id])[plan.account_id]
    then = "It was given up; the next one comes by the plan." if over else "It is tried again for two days."
    text = f"The {plan.every} export of {name} did not reach its place. {error} {then} Look under Exports."
    for each in members_of(session, [plan.account_id]):
        if allows(each.role, Permission.EXPORT):
            tell_by_mail(session, each.email, f"An export of {name} did not get through", text, account_id=plan.account_id, now=now)
