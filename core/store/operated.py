"""Accounts as those who run the installation see them: how many names each has, and never which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.accounts import Account, Membership, User
from core.store.base import Utc
from core.store.endpoints import Domain
from core.store.teams import Invitation
from core.store.tokens import ApiToken, live_tokens
from core.store.watches import WatchTally

After = tuple[datetime, str]
"""Where a page begins: when the last row of the page before was made, and its reference."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An account with how many members and domains it has, those in the bin and users who are gone left out."""

    ref: str
    name: str
    members: int
    domains: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account in a list. `names`: how many it watches; `binned_at`: since when it lies in the bin, None where it does not."""

    ref: str
    name: str
    created_at: datetime
    binned_at: datetime | None
    members: int
    names: int


@dataclass(frozen=True, slots=True)
class OneAccount:
    """One account. `states`: how many names are in each state; `invitations`, `tokens`: how many can be used now."""

    id: int
    ref: str
    name: str
    created_at: datetime
    binned_at: datetime | None
    states: dict[str, int]
    invitations: int
    tokens: int


def accounts_counted(session: Session) -> tuple[Counted, ...]:
    """Every account, in the order in which they were made."""
    there = (Membership.account_id == Account.id, Membership.deleted_at.is_(None), User.deleted_at.is_(None))
    members = _counted(sa.select(sa.func.count(Membership.id)).join(User, User.id == Membership.user_id).where(*there))
    domains = _counted(sa.select(sa.func.count(Domain.id)).where(Domain.account_id == Account.id, Domain.deleted_at.is_(None)))
    rows = session.execute(sa.select(Account.ref, Account.name, members, domains).where(Account.deleted_at.is_(None)).order_by(Account.id))
    return tuple(Counted(*row) for row in rows)


def _counted(count: sa.Select[int]) -> sa.ScalarSelect[int]:
    return count.correlate(Account).scalar_subquery()


def accounts_page(session: Session, *, text: str, after: After | None, most: int) -> tuple[AccountRow, ...]:
    """Accounts, newest first, those in the bin too; with `text` those whose name or whose members' address has it."""
    where = [sa.tuple_(Account.created_at, Account.ref) < sa.tuple_(sa.literal(after[0], Utc()), after[1])] if after is not None else []
    if text:
        member = sa.exists().where(
            Membership.account_id == Account.id, Membership.deleted_at.is_(None), Membership.user_id == User.id, User.deleted_at.is_(None),
            User.email.icontains(text, autoescape=True),
        )  # fmt: skip
        where.append(sa.or_(Account.name.icontains(text, autoescape=True), member))
    order = (Account.created_at.desc(), Account.ref.desc())
    found = session.scalars(sa.select(Account).where(*where).order_by(*order).limit(most)).all()
    ids = [account.id for account in found]
    members, names = _members(session, ids), _names(session, ids)
    return tuple(
        AccountRow(each.ref, each.name, each.created_at, each.deleted_at, members.get(each.id, 0), names.get(each.id, 0)) for each in found
    )


def _members(session: Session, ids: Sequence[int]) -> dict[int, int]:
    rows = session.execute(
        sa.select(Membership.account_id, sa.func.count())
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id.in_(ids), Membership.deleted_at.is_(None), User.deleted_at.is_(None))
        .group_by(Membership.account_id)
    )
    return dict(rows.all())


def _names(session: Session, ids: Sequence[int]) -> dict[int, int]:
    rows = session.execute(
        sa.select(WatchTally.account_id, sa.func.sum(WatchTally.watches))
        .where(WatchTally.account_id.in_(ids))
        .group_by(WatchTally.account_id)
    )
    return {account_id: int(count) for account_id, count in rows}


def one_account(session: Session, ref: str, now: datetime) -> OneAccount | None:
    """The account with this reference, also where it lies in the bin."""
    account = session.scalar(sa.select(Account).where(Account.ref == ref))
    if account is None:
        return None
    tallies = session.execute(sa.select(WatchTally.state, WatchTally.watches).where(WatchTally.account_id == account.id))
    usable = (Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None), Invitation.expires_at > now)
    invitations = sa.select(sa.func.count()).select_from(Invitation).where(Invitation.account_id == account.id, *usable)
    tokens = sa.select(sa.func.count()).select_from(ApiToken).where(ApiToken.account_id == account.id, *live_tokens(now))
    return OneAccount(
        account.id, account.ref, account.name, account.created_at, account.deleted_at, dict(tallies.all()),
        session.scalar(invitations) or 0, session.scalar(tokens) or 0,
    )  # fmt: skip
