"""What an account asks of its members, and accounts that lie in the bin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.store.accounts import Account, Membership
from core.store.base import Base


class AccountRules(Base):
    """One row for an account that asks something. `factor_since`: from when on its members need a second factor; None: they do not."""

    __tablename__ = "account_rules"
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"), primary_key=True, autoincrement=False)
    factor_since: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class BinnedAccount:
    """An account in the bin whose owner a person is."""

    id: int
    ref: str
    name: str
    deleted_at: datetime


def factor_required(session: Session, account_id: int) -> bool:
    """Whether the account asks its members for a second factor."""
    where = (AccountRules.account_id == account_id, AccountRules.factor_since.is_not(None))
    return session.scalar(sa.select(sa.exists().where(*where))) or False


def binned_accounts(session: Session, user_id: int, since: datetime) -> tuple[BinnedAccount, ...]:
    """The accounts of this owner that were removed since then, newest first."""
    rows = session.execute(
        sa.select(Account.id, Account.ref, Account.name, Account.deleted_at)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.user_id == user_id, Membership.role == "owner", Membership.deleted_at.is_(None), Account.deleted_at >= since)
        .order_by(Account.deleted_at.desc(), Account.id)
    )
    return tuple(BinnedAccount(number, ref, name, at) for number, ref, name, at in rows if at is not None)
