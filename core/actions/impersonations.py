"""An operator looks at an account as its viewer: with a reason, for half an hour at most, and its owners are told at once.

Nobody becomes somebody else by it: the operator stays who they are in every event, sees what a viewer sees, and changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.letters import tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Permission, Refused, require_installation, require_person, require_worker
from core.store.accounts import Account, LoginSession, Membership, User, members_of
from core.store.base import new_ref
from core.store.disablings import disabled
from core.store.impersonations import Impersonation, going_on

LASTS: Final = timedelta(minutes=30)
LEAST: Final = 10
MOST: Final = 300
"""Characters of a reason."""
_AGAIN: Final = "You look at an account already. End that first. Nothing was changed."
_TOLD: Final = (
    "An operator of this installation looks at this account from {at} UTC until {until} UTC at the latest. They see what a viewer sees, "
    "and change nothing. The reason they gave: {reason}\n\nEvery page of yours says so for a week. If you did not expect it, ask whoever "
    "runs this KeyChest."
)


def begin_impersonation(
    session: Session, actor: Actor, *, account_ref: str, reason: str, sign_in_id: int, checked: Checked, now: datetime
) -> str | None:
    """The name of the account that this sign-in of the operator's looks at from now on; None where there is none such.

    Raises Refused for a wrong password, a reason that is none, an account of their own, and while they look at one already.
    """
    require_installation(actor, Permission.IMPERSONATE)
    if actor.impersonating:
        raise Refused(_AGAIN)
    user = require_password(session, require_person(actor), checked, Refused("This is not your password. Nothing was changed.", "proof"))
    account = session.scalar(sa.select(Account).where(Account.ref == account_ref, Account.deleted_at.is_(None)))
    if account is None:
        return None
    reason = _plain(reason)
    mine = (Membership.account_id == account.id, Membership.user_id == user.id, Membership.deleted_at.is_(None))
    if session.scalar(sa.select(sa.exists().where(*mine))):
        raise Refused("You belong to this account: look at it as yourself, under Team and accounts. Nothing was changed.")
    _settle(session, Impersonation.sign_in_id == sign_in_id, now)
    if session.scalar(sa.select(sa.exists().where(Impersonation.sign_in_id == sign_in_id, *going_on(now)))):
        raise Refused(_AGAIN)
    ref = new_ref()
    session.add(
        Impersonation(
            ref=ref, sign_in_id=sign_in_id, user_id=user.id, account_id=account.id, reason=reason, began_at=now, ends_at=now + LASTS,
            ended_at=None,
        )
    )  # fmt: skip
    session.flush()
    words = _TOLD.format(at=f"{now:%-d %b %Y, %H:%M}", until=f"{now + LASTS:%H:%M}", reason=reason)
    for member in members_of(session, [account.id]):
        if member.role == "owner":
            tell_by_mail(session, member.email, f"An operator looks at {account.name}", words, account_id=account.id, now=now)
    minutes = int(LASTS.total_seconds() // 60)
    append(session, Event("impersonation.begun.v1", now, actor.name, account.ref, {"access": ref, "minutes": minutes}, {"reason": reason}))
    return account.name


def end_impersonation(session: Session, actor: Actor, *, sign_in_id: int, now: datetime) -> bool:
    """Whether this sign-in of the actor's looked at an account. It does not any more."""
    require_installation(actor, Permission.IMPERSONATE)
    row = session.scalar(sa.select(Impersonation).where(Impersonation.sign_in_id == sign_in_id, *going_on(now)).with_for_update())
    if row is None or row.user_id != actor.user_id:
        return False
    row.ended_at = now
    append(session, _ended(session, row, now, actor.name, "button"))
    return True


def settle_impersonations(session: Session, actor: Actor, *, now: datetime) -> int:
    """How many looks were over by time, sign-out, disabling or loss of the role, and are told as ended now.

    They opened nothing any more since then: this writes it down.
    """
    require_worker(actor)
    return _settle(session, sa.true(), now)


def _settle(session: Session, which: sa.ColumnElement[bool], now: datetime) -> int:
    out = sa.or_(LoginSession.ended_at.is_not(None), LoginSession.expires_at <= now)
    gone = sa.or_(out, User.installation_role != "operator", disabled(User.id))
    rows = session.scalars(
        sa.select(Impersonation)
        .join(LoginSession, LoginSession.id == Impersonation.sign_in_id)
        .join(User, User.id == Impersonation.user_id)
        .where(Impersonation.ended_at.is_(None), which, sa.or_(Impersonation.ends_at <= now, gone))
        .with_for_update(of=Impersonation, skip_locked=True)
    ).all()
    for row in rows:
        late = row.ends_at <= now
        row.ended_at = row.ends_at if late else now
        append(session, _ended(session, row, now, "worker", "time" if late else "sign-in"))
    session.flush()
    return len(rows)


def _ended(session: Session, row: Impersonation, now: datetime, by: str, how: str) -> Event:
    account = session.get_one(Account, row.account_id).ref
    return Event("impersonation.ended.v1", now, by, account, {"access": row.ref, "by": how}, {"reason": row.reason})


def _plain(reason: str) -> str:
    """The reason in one line. Raises Refused for one that is too short or too long."""
    plain = " ".join(reason.split())
    if not LEAST <= len(plain) <= MOST:
        raise Refused(f"Say why, in {LEAST} to {MOST} characters: the account's owners read it. Nothing was changed.", "reason")
    return plain
