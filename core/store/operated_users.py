"""Users as those who run the installation see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.accounts import Account, LoginSession, Membership, User, with_factor
from core.store.base import Utc
from core.store.disablings import disabled, open_disabling
from core.store.operated import After


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user in a list. `role` is that on the installation; `signed_in_at`: when they signed in last, None where they never did."""

    ref: str
    email: str
    role: str
    created_at: datetime
    factor: bool
    disabled: bool
    accounts: int
    signed_in_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """An account that a user belongs to. `only_owner`: nobody else could decide who belongs to it."""

    ref: str
    name: str
    role: str
    only_owner: bool


@dataclass(frozen=True, slots=True)
class OneUser:
    """One user. `sign_ins`, `tokens`: how many hold now; `disabled_at` is None where nobody keeps them out."""

    id: int
    ref: str
    email: str
    role: str
    created_at: datetime
    factor: bool
    signed_in_at: datetime | None
    sign_ins: int
    disabled_at: datetime | None
    disabled_by: str
    places: tuple[Place, ...]


def users_page(session: Session, *, text: str, after: After | None, most: int) -> tuple[UserRow, ...]:
    """Users, newest first; with `text` those whose address has it, or who have that role on the installation."""
    where: list[sa.ColumnElement[bool]] = [User.deleted_at.is_(None)]
    if after is not None:
        where.append(sa.tuple_(User.created_at, User.ref) < sa.tuple_(sa.literal(after[0], Utc()), after[1]))
    if text:
        where.append(sa.or_(User.email.icontains(text, autoescape=True), User.installation_role == text.lower()))
    asked = sa.select(User, with_factor(), disabled(User.id)).where(*where)
    found = session.execute(asked.order_by(User.created_at.desc(), User.ref.desc()).limit(most)).all()
    ids = [user.id for user, _, _ in found]
    accounts, seen = _accounts(session, ids), _signed_in(session, ids)
    return tuple(
        UserRow(
            user.ref,
            user.email,
            user.installation_role,
            user.created_at,
            bool(factor),
            bool(out),
            accounts.get(user.id, 0),
            seen.get(user.id),
        )
        for user, factor, out in found
    )


def one_user(session: Session, ref: str, now: datetime) -> OneUser | None:
    """The live user with this reference."""
    found = session.execute(sa.select(User, with_factor()).where(User.ref == ref, User.deleted_at.is_(None))).first()
    if found is None:
        return None
    user, factor = found
    hold = (
        LoginSession.user_id == user.id,
        LoginSession.ended_at.is_(None),
        LoginSession.expires_at > now,
        LoginSession.factor_due.is_(False),
    )
    out = open_disabling(session, user.id)
    by = session.scalar(sa.select(User.email).where(User.id == out.disabled_by)) if out is not None else ""
    return OneUser(
        user.id, user.ref, user.email, user.installation_role, user.created_at, bool(factor), _signed_in(session, [user.id]).get(user.id),
        session.scalar(sa.select(sa.func.count()).select_from(LoginSession).where(*hold)) or 0,
        out.disabled_at if out is not None else None, by or "", _places(session, user.id),
    )  # fmt: skip


def _places(session: Session, user_id: int) -> tuple[Place, ...]:
    other, them = sa.orm.aliased(Membership), sa.orm.aliased(User)
    others = sa.exists().where(
        other.account_id == Account.id, other.user_id != user_id, other.role == "owner", other.deleted_at.is_(None),
        them.id == other.user_id, them.deleted_at.is_(None), them.password_hash != "", ~disabled(them.id),
    )  # fmt: skip
    rows = session.execute(
        sa.select(Account.ref, Account.name, Membership.role, others)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.user_id == user_id, Membership.deleted_at.is_(None), Account.deleted_at.is_(None))
        .order_by(Account.name, Account.id)
    )
    return tuple(Place(ref, name, role, role == "owner" and not shared) for ref, name, role, shared in rows)


def _accounts(session: Session, ids: Sequence[int]) -> dict[int, int]:
    rows = session.execute(
        sa.select(Membership.user_id, sa.func.count())
        .join(Account, Account.id == Membership.account_id)
        .where(Membership.user_id.in_(ids), Membership.deleted_at.is_(None), Account.deleted_at.is_(None))
        .group_by(Membership.user_id)
    )
    return dict(rows.all())


def _signed_in(session: Session, ids: Sequence[int]) -> dict[int, datetime]:
    newest = sa.type_coerce(sa.func.max(LoginSession.created_at), Utc())
    whole = (LoginSession.user_id.in_(ids), LoginSession.factor_due.is_(False))
    rows = session.execute(sa.select(LoginSession.user_id, newest).where(*whole).group_by(LoginSession.user_id))
    return dict(rows.all())
