"""Removing many names at once: slow on purpose. Its person proves anew who they are, and where there is a second one, they allow it.

This is what stood between one tired person and a thousand accounts, and was missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.domains import remove_watches
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, allows, require, require_person
from core.store.accounts import Member, User, account_names, members_of
from core.store.approvals import Approval, open_approval
from core.store.base import new_ref
from core.store.watches import Watch, own_watches

AT_ONCE: Final = 25
"""So many names are removed by a press of a button; more need a password, and a second person where there is one."""
WAITS_FOR: Final = timedelta(days=7)
_GONE: Final = "This does not wait any more: somebody decided it, or nobody did within seven days. Nothing was changed."


class ProofNeeded(Refused):
    """So many names are removed only by who proves that it is them. `names`: how many."""

    def __init__(self, names: int) -> None:
        super().__init__(f"More than {AT_ONCE} names at once: type your password to go on. Nothing was removed.", "proof")
        self.names = names


@dataclass(frozen=True, slots=True)
class Removal:
    """What came of it: so many names were removed, or so many wait for somebody else's yes."""

    removed: int = 0
    waiting: int = 0


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
    _ask(session, actor, account_id, found, now)
    text = f"{user.email} asks to remove {len(found)} names at once. Nothing goes before you or somebody else allows it, under Approvals."
    for each in others:
        tell_by_mail(session, each.email, f"{len(found)} names of {name} are to be removed", text, account_id=account_id, now=now)
    return Removal(waiting=len(found))


def approve(session: Session, actor: Actor, *, ref: str, now: datetime) -> int:
    """How many names were removed, as somebody else asked. Raises Refused for one's own asking, and for what does not wait any more."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    approval = _waiting(session, account_id, ref, now)
    if approval.asked_by == require_person(actor):
        raise Refused("You asked for this yourself: a second person has to allow it. Nothing was changed.")
    asker = next((each for each in members_of(session, [account_id]) if each.user_id == approval.asked_by), None)
    if asker is None or not allows(asker.role, Permission.REMOVE_DOMAINS):
        raise Refused("Who asked for this may not remove names any more. Refuse it. Nothing was changed.")
    _decide(approval, "approved", actor, now)
    approval.used_at = now
    append(session, Event("removal.approved.v1", now, actor.name, actor.account_ref, {"names": approval.count}))
    removed = remove_watches(session, actor, refs=approval.refs, now=now)
    by = session.get_one(User, require_person(actor)).email
    text = f"{asker.email} asked for it, and {by} allowed it. They lie in the bin and come back whole for 30 days."
    for each in _deciders(session, account_id, besides=0):
        tell_by_mail(session, each.email, f"{removed} names were removed", text, account_id=account_id, now=now)
    return removed


def refuse(session: Session, actor: Actor, *, ref: str, now: datetime) -> None:
    """It does not happen; by who asked, it is withdrawn. Raises Refused for what does not wait any more."""
    account_id = require(actor, Permission.REMOVE_DOMAINS)
    approval = _waiting(session, account_id, ref, now)
    mine = approval.asked_by == require_person(actor)
    _decide(approval, "withdrawn" if mine else "refused", actor, now)
    append(session, Event("removal.refused.v1", now, actor.name, actor.account_ref, {"names": approval.count, "withdrawn": mine}))
    if not mine:
        asker = session.get_one(User, approval.asked_by)
        by = session.get_one(User, require_person(actor)).email
        subject = f"{approval.count} names stay: the removal was refused"
        tell_by_mail(session, asker.email, subject, f"You asked to remove them, and {by} refused.", account_id=account_id, now=now)


def _ask(session: Session, actor: Actor, account_id: int, found: Sequence[Watch], now: datetime) -> None:
    session.add(
        Approval(
            ref=new_ref(),
            account_id=account_id,
            kind="remove_domains",
            table_name=Watch.__tablename__,
            count=len(found),
            refs=[watch.ref for watch in found],
            asked_by=require_person(actor),
            asked_at=now,
            expires_at=now + WAITS_FOR,
            decided_by=None,
            decided_at=None,
            used_at=None,
        )
    )
    session.flush()
    append(session, Event("removal.asked.v1", now, actor.name, actor.account_ref, {"names": len(found)}))


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
