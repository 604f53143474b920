"""Removing many names at once, or an account: slow on purpose.

Its person proves anew who they are, and where there is a second one, they allow it. This is what stood between one tired person and a
thousand accounts, and was missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.domains import remove_watches
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, allows, require, require_person
from core.actions.team import withdraw_open
from core.store.accounts import Account, LoginSession, Member, User, account_names, first_account, members_of
from core.store.approvals import Approval, open_approval, open_ones
from core.store.base import new_ref
from core.store.db import CHUNK
from core.store.watches import Watch, own_watches

AT_ONCE: Final = 25
"""So many names are removed by a press of a button; more need a password, and a second person where there is one."""
WAITS_FOR: Final = timedelta(days=7)
ACCOUNT: Final = "remove_account"
_TABLES: Final = {"remove_domains": Watch.__tablename__, ACCOUNT: Account.__tablename__}
_GONE: Final = "This does not wait any more: somebody decided it, or nobody did within seven days. Nothing was changed."


class ProofNeeded(Refused):
    """So many names are removed only by who proves that it is them. `names`: how many."""

    def __init__(self, names: int) -> None:
        super().__init__(f"More than {AT_ONCE} names at once: type your password to go on. Nothing was removed.", "proof")
        self.names = names


@dataclass(frozen=True, slots=True)
class Removal:
    """What came of it: so many names were removed, or so many wait for somebody else's yes. `account`: the account went with them."""

    removed: int = 0
    waiting: int = 0
    account: bool = False


def remove_names(session: Session, actor: Actor, *, refs: Sequence[str], checked: Checked | None, now: datetime) -> Removal:
    """Put these into the bin, or ask for that. `checked`: the password that was typed for it. Raises ProofNeeded and Refused."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    found = own_watches(session, account_id, refs, binned=False)
    if len(found) <= AT_ONCE:
        return Removal(removed=remove_watches(session, actor, refs=refs, now=now))
    if checked is None:
        raise ProofNeeded(len(found))
    wrong = Refused("This is not your password. Nothing was removed.", "proof")
    user = require_password(session, require_person(actor), checked, wrong)
    others = _deciders(session, account_id, besides=user.id)
    name = account_names(session, [account_id])[account_id]
    if not others:
        removed = remove_watches(session, actor, refs=refs, now=now)
        text = (
            f"You removed {removed} names at once. They lie in the bin and come back whole for 30 days. If it was not you: bring them back."
        )
        tell_by_mail(session, user.email, f"{removed} names of {name} were removed", text, account_id=account_id, now=now)
        return Removal(removed=removed)
    _ask(session, actor, "remove_domains", [watch.ref for watch in found], now)
    text = f"{user.email} asks to remove {len(found)} names at once. Nothing goes before you or somebody else allows it, under Approvals."
    for each in others:
        tell_by_mail(session, each.email, f"{len(found)} names of {name} are to be removed", text, account_id=account_id, now=now)
    return Removal(waiting=len(found))


def remove_account(session: Session, actor: Actor, *, checked: Checked, now: datetime) -> Removal:
    """Put the account with all that is in it into the bin, or ask for that. Raises Refused for a wrong password.

    An owner brings it back whole for 30 days. `waiting` is 1 where a second owner or manager has to allow it first.
    """
    account_id = require(actor, Permission.MANAGE_ACCOUNT)
    wrong = Refused("This is not your password. Nothing was removed.", "remove_proof")
    user = require_password(session, require_person(actor), checked, wrong)
    account = session.get_one(Account, account_id)
    others = _deciders(session, account_id, besides=user.id)
    if not others:
        return Removal(removed=_put_into_bin(session, actor, account, told=f"{user.email} removed it", now=now), account=True)
    if session.scalar(sa.select(sa.exists().where(*open_ones(account_id, now), Approval.kind == ACCOUNT))):
        raise Refused("Somebody asked for this already, and it waits under Approvals. Nothing was changed.")
    _ask(session, actor, ACCOUNT, [account.ref], now)
    text = f"{user.email} asks to remove the whole account. Nothing goes before you or somebody else allows it, under Approvals."
    for each in others:
        tell_by_mail(session, each.email, f"{account.name} is to be removed", text, account_id=account_id, now=now)
    return Removal(waiting=1)


def approve(session: Session, actor: Actor, *, ref: str, now: datetime) -> Removal:
    """What was removed, as somebody else asked. Raises Refused for one's own asking, and for what does not wait any more."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    approval = _waiting(session, account_id, ref, now)
    if approval.asked_by == require_person(actor):
        raise Refused("You asked for this yourself: a second person has to allow it. Nothing was changed.")
    asker = next((each for each in members_of(session, [account_id]) if each.user_id == approval.asked_by), None)
    whole = approval.kind == ACCOUNT
    if asker is None or not allows(asker.role, Permission.MANAGE_ACCOUNT if whole else Permission.REMOVE_DOMAINS):
        raise Refused("Who asked for this may not do it any more. Refuse it. Nothing was changed.")
    _decide(approval, "approved", actor, now)
    approval.used_at = now
    append(session, Event("removal.approved.v1", now, actor.name, actor.account_ref, _about(approval)))
    by = session.get_one(User, require_person(actor)).email
    said = f"{asker.email} asked for it, and {by} allowed it"
    if whole:
        return Removal(removed=_put_into_bin(session, actor, session.get_one(Account, account_id), told=said, now=now), account=True)
    removed = remove_watches(session, actor, refs=approval.refs, now=now)
    text = f"{said}. They lie in the bin and come back whole for 30 days."
    for each in _deciders(session, account_id, besides=0):
        tell_by_mail(session, each.email, f"{removed} names were removed", text, account_id=account_id, now=now)
    return Removal(removed=removed)


def refuse(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """It does not happen; by who asked, it is withdrawn. Raises Refused for what does not wait any more."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    approval = _waiting(session, account_id, ref, now)
    mine = approval.asked_by == require_person(actor)
    _decide(approval, "withdrawn" if mine else "refused", actor, now)
    append(session, Event("removal.refused.v1", now, actor.name, actor.account_ref, _about(approval) | {"withdrawn": mine}))
    if not mine:
        asker = session.get_one(User, approval.asked_by)
        by = session.get_one(User, require_person(actor)).email
        subject = "The account stays" if approval.kind == ACCOUNT else f"{approval.count} names stay"
        text = f"You asked for the removal, and {by} refused."
        tell_by_mail(session, asker.email, f"{subject}: the removal was refused", text, account_id=account_id, now=now)


def _put_into_bin(session: Session, actor: Actor, account: Account, *, told: str, now: datetime) -> int:
    """How many names went with the account, which its members see no more and its owners can bring back. Each gets a mail."""
    live = sa.select(Watch.ref).where(Watch.account_id == account.id, Watch.deleted_at.is_(None))
    refs = session.scalars(live.order_by(Watch.id)).all()
    removed = sum(remove_watches(session, actor, refs=refs[at : at + CHUNK], now=now) for at in range(0, len(refs), CHUNK))
    withdraw_open(session, account.id, sa.true(), now)
    members = members_of(session, [account.id])
    account.deleted_at = now
    session.flush()
    for each in members:
        theirs = (LoginSession.user_id == each.user_id, LoginSession.account_id == account.id, LoginSession.ended_at.is_(None))
        session.execute(sa.update(LoginSession).where(*theirs).values(account_id=first_account(session, each.user_id)))
        text = f"{told}. It lies in the bin with {removed} names, and its owners can bring it back whole for 30 days, under Account."
        tell_by_mail(session, each.email, f"The account {account.name} was removed", text, account_id=account.id, now=now)
    append(session, Event("account.removed.v1", now, actor.name, account.ref, {"names": removed, "members": len(members)}))
    return removed


def _about(approval: Approval) -> dict[str, str | int | bool]:
    return {"account": True} if approval.kind == ACCOUNT else {"names": approval.count}


def _ask(session: Session, actor: Actor, kind: str, refs: list[str], now: datetime) -> None:
    approval = Approval(
        ref=new_ref(),
        account_id=actor.account_id,
        kind=kind,
        table_name=_TABLES[kind],
        count=len(refs),
        refs=refs,
        asked_by=require_person(actor),
        asked_at=now,
        expires_at=now + WAITS_FOR,
        decided_by=None,
        decided_at=None,
        used_at=None,
    )
    session.add(approval)
    session.flush()
    append(session, Event("removal.asked.v1", now, actor.name, actor.account_ref, _about(approval)))


def _waiting(session: Session, account_id: int, ref: str, now: datetime) -> Approval:
    approval = open_approval(session, account_id, ref, now)
    if approval is None:
        raise Refused(_GONE)
    return approval


def _decide(approval: Approval, decision: str, actor: Actor, now: datetime) -> None:
    approval.decision, approval.decided_by, approval.decided_at = decision, actor.user_id, now


def _deciders(session: Session, account_id: int, *, besides: int) -> list[Member]:
    mine = members_of(session, [account_id])
    return [each for each in mine if each.user_id != besides and allows(each.role, Permission.REMOVE_DOMAINS)]
