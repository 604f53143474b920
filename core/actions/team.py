"""Who belongs to an account: inviting, joining, changing a role, removing, bringing back, and leaving.

An account always has an owner. Whoever changes its team holds the account's row, so that two owners who step down at once do so one
after the other, and the second is refused.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import UNKNOWN, Caller, NewSignIn, begin_sign_in, look_at, require_address, token_sha256
from core.actions.import_cards import become_responsible
from core.actions.letters import end_letters, tell_by_mail, write_letter
from core.actions.passwords import PasswordHash
from core.actions.policy import ROLES, Actor, Permission, Refused, require, require_person
from core.store.accounts import Account, LoginSession, Membership, User, first_account, user_by_email
from core.store.base import IN_BIN_FOR, new_ref
from core.store.db import rowcount
from core.store.disablings import enabled
from core.store.identities import has_way_in
from core.store.letters import Letter
from core.store.teams import Invitation, invited, usable_invitation

DAYS: Final = (1, 7, 30)
"""How long an invitation may hold."""
MOST_OPEN: Final = 100
_LAST_OWNER: Final = "The account would have no owner. Make somebody else an owner first. Nothing was changed."
_GONE: Final = "This invitation was used already, was withdrawn, or has run out. Ask for a new one."


def invite(session: Session, actor: Actor, *, email: str, role: str, days: int, now: datetime, by_mail: bool = False) -> str:
    """A token for `/invitation/<token>`, by which the person with this address joins. Raises Refused.

    An open invitation for the same address ends by it. `by_mail`: the link is mailed, with a token of its own in the place of this one.
    """
    account_id = require(actor, Permission.MANAGE_TEAM)
    _lock(session, account_id)
    email = email.strip().lower()
    require_address(email)
    _require_role(role)
    if days not in DAYS:
        raise Refused("Choose how long the invitation holds: 1, 7 or 30 days. Nothing was changed.", "days")
    user = user_by_email(session, email)
    if user is not None and _membership(session, account_id, user.id) is not None:
        raise Refused(f"{email} belongs to this account already. Nothing was changed.", "email")
    open_now = invited(session, account_id, now)
    if len(open_now) >= MOST_OPEN:
        raise Refused(f"There are {MOST_OPEN} open invitations already. Withdraw some first. Nothing was changed.", "email")
    withdraw_open(session, account_id, Invitation.email == email, now)
    token = secrets.token_urlsafe(32)
    ref = new_ref()
    session.add(
        Invitation(
            ref=ref, account_id=account_id, email=email, role=role, token_sha256=token_sha256(token), invited_by=require_person(actor),
            created_at=now, expires_at=now + timedelta(days=days), accepted_at=None, withdrawn_at=None,
        )
    )  # fmt: skip
    session.flush()
    if by_mail:
        words = {
            "account": session.get_one(Account, account_id).name,
            "by": session.get_one(User, require_person(actor)).email,
            "role": role,
        }
        lasts = timedelta(days=days)
        write_letter(session, "invitation", email=email, account_id=account_id, about=ref, words=words, lasts=lasts, now=now)
    append(session, Event("member.invited.v1", now, actor.name, actor.account_ref, {"role": role}, {"email": email}))
    return token


def withdraw_invitation(session: Session, actor: Actor, *, ref: str, now: datetime) -> bool:
    """Whether there was such an open invitation; its link is worth nothing from now on."""
    account_id = require(actor, Permission.MANAGE_TEAM)
    if not withdraw_open(session, account_id, Invitation.ref == ref, now):
        return False
    append(session, Event("invitation.withdrawn.v1", now, actor.name, actor.account_ref))
    return True


def join(session: Session, actor: Actor, *, token: str, sign_in_id: int, now: datetime) -> str:
    """The account's name, once the person who is signed in belongs to it and looks at it. Raises Refused; so for another's invitation."""
    user = session.get_one(User, require_person(actor))
    invitation = _open(session, token_sha256(token), now)
    if user.email != invitation.email:
        raise Refused(
            f"This invitation is for {invitation.email}, and you are signed in as {user.email}. Sign out, and open the link again as "
            "the person it is for. Nothing was changed."
        )
    name = _enter(session, invitation, user, now)
    look_at(session, sign_in_id, invitation.account_id)
    append(session, _joined(session, invitation, user, now))
    return name


def join_as_new(
    session: Session, *, token: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN, closed: bool = False
) -> NewSignIn:
    """A user with the invited address and this password, in the account and signed in. Raises Refused where there is one already.

    `closed`: this installation takes nobody in who is not here already.
    """
    if closed:
        raise Refused("This installation takes nobody new in by invitation. Ask its operator to let you in first. Nothing was changed.")
    user = enter_as_new(session, token_sha256=token_sha256(token), password_hash=password_hash, now=now)
    return begin_sign_in(session, user, now, caller)


def enter_as_new(session: Session, *, token_sha256: str, password_hash: PasswordHash | Literal[""], now: datetime) -> User:
    """A user with the address that this invitation is for, in its account. Raises Refused where there is one already."""
    invitation = _open(session, token_sha256, now)
    if user_by_email(session, invitation.email) is not None:
        raise Refused(f"There is a user {invitation.email} already. Sign in, and open the link again. Nothing was changed.")
    user = User(ref=new_ref(), email=invitation.email, password_hash=password_hash, created_at=now, deleted_at=None)
    session.add(user)
    session.flush()
    _enter(session, invitation, user, now)
    append(session, _joined(session, invitation, user, now))
    return user


def change_role(session: Session, actor: Actor, *, user_ref: str, role: str, now: datetime) -> str | None:
    """The address of the member whose role changed; None where there is no such member. Raises Refused for the last owner.

    Who ceases to be an owner, by this or by going, takes their open invitations with them.
    """
    account_id = require(actor, Permission.MANAGE_TEAM)
    _lock(session, account_id)
    _require_role(role)
    found = _member(session, account_id, user_ref)
    if found is None:
        return None
    user, membership = found
    before = membership.role
    if before == role:
        return user.email
    if before == "owner":
        _keep_an_owner(session, account_id, user.id)
        _withdraw_theirs(session, account_id, user.id, now)
    membership.role = role
    subject = f"You are {'an' if role == 'owner' else 'a'} {role} of {{}} now"
    _tell(session, user, account_id, subject=subject, text=f"An owner changed your role from {before}.", now=now)
    append(session, Event("role.changed.v1", now, actor.name, actor.account_ref, {"from": before, "to": role}, {"user": user.ref}))
    return user.email


def remove_member(session: Session, actor: Actor, *, user_ref: str, now: datetime) -> str | None:
    """The address of the member who was put into the bin, from where they come back for 30 days; None where there is none.

    They see nothing of the account from this moment on. Raises Refused for the last owner.
    """
    account_id = require(actor, Permission.MANAGE_TEAM)
    _lock(session, account_id)
    found = _member(session, account_id, user_ref)
    if found is None:
        return None
    user, membership = found
    _go(session, account_id, membership, now)
    gone = "An owner removed you. An owner can bring you back for 30 days."
    _tell(session, user, account_id, subject="You do not belong to {} any more", text=gone, now=now)
    append(session, Event("member.removed.v1", now, actor.name, actor.account_ref, {"role": membership.role}, {"user": user.ref}))
    return user.email


def restore_member(session: Session, actor: Actor, *, user_ref: str, now: datetime) -> str | None:
    """The address of a former member who is back, in the role they had; None where nobody of that name lies in the bin.

    Sign-ins of theirs that look at no account look at this one.
    """
    account_id = require(actor, Permission.MANAGE_TEAM)
    _lock(session, account_id)
    row = session.execute(
        sa.select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.account_id == account_id, User.ref == user_ref, User.deleted_at.is_(None))
        .order_by(Membership.deleted_at.is_not(None), Membership.deleted_at.desc())
    ).first()
    if row is None or row[1].deleted_at is None or row[1].deleted_at < now - IN_BIN_FOR:
        return None
    user, membership = row
    membership.deleted_at = None
    nowhere = (LoginSession.user_id == user.id, LoginSession.account_id.is_(None), LoginSession.ended_at.is_(None))
    session.execute(sa.update(LoginSession).where(*nowhere).values(account_id=account_id))
    back = f"An owner brought you back, as {membership.role}."
    _tell(session, user, account_id, subject="You belong to {} again", text=back, now=now)
    append(session, Event("member.restored.v1", now, actor.name, actor.account_ref, {"role": membership.role}, {"user": user.ref}))
    return str(user.email)


def leave(session: Session, actor: Actor, *, now: datetime) -> None:
    """The actor leaves the account that they act in. Raises Refused for its last owner."""
    account_id = require(actor, Permission.LEAVE)
    _lock(session, account_id)
    membership = _membership(session, account_id, require_person(actor))
    if membership is None:
        raise Refused("You do not belong to this account any more. Nothing was changed.")
    _go(session, account_id, membership, now)
    append(session, Event("member.left.v1", now, actor.name, actor.account_ref, {"role": membership.role}))


def _tell(session: Session, user: User, account_id: int, *, subject: str, text: str, now: datetime) -> None:
    name = session.get_one(Account, account_id).name
    tell_by_mail(session, user.email, subject.format(name), text, account_id=account_id, now=now)


def _open(session: Session, sha256: str, now: datetime) -> Invitation:
    """Its account is held before it, as by those who invite: else each would wait for the other."""
    account_id = session.scalar(sa.select(Invitation.account_id).where(Invitation.token_sha256 == sha256))
    if account_id is None:
        raise Refused(_GONE)
    _lock(session, account_id)
    invitation = usable_invitation(session, sha256, now)
    if invitation is None:
        raise Refused(_GONE)
    return invitation


def _enter(session: Session, invitation: Invitation, user: User, now: datetime) -> str:
    """The account's name. Who is in it by another way meanwhile keeps the role they have."""
    if _membership(session, invitation.account_id, user.id) is None:
        session.add(Membership(account_id=invitation.account_id, user_id=user.id, role=invitation.role, created_at=now, deleted_at=None))
        become_responsible(session, invitation.account_id, user.id, user.email, now)
    invitation.accepted_at = now
    session.flush()
    return session.get_one(Account, invitation.account_id).name


def _joined(session: Session, invitation: Invitation, user: User, now: datetime) -> Event:
    account = session.get_one(Account, invitation.account_id)
    return Event("member.joined.v1", now, f"user:{user.ref}", account.ref, {"role": invitation.role})


def _go(session: Session, account_id: int, membership: Membership, now: datetime) -> None:
    if membership.role == "owner":
        _keep_an_owner(session, account_id, membership.user_id)
        _withdraw_theirs(session, account_id, membership.user_id, now)
    membership.deleted_at = now
    session.flush()
    elsewhere = first_account(session, membership.user_id)
    signed_in = (LoginSession.user_id == membership.user_id, LoginSession.account_id == account_id, LoginSession.ended_at.is_(None))
    session.execute(sa.update(LoginSession).where(*signed_in).values(account_id=elsewhere))


def _keep_an_owner(session: Session, account_id: int, leaving: int) -> None:
    others = (
        sa.select(Membership.id)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.account_id == account_id, Membership.role == "owner", Membership.deleted_at.is_(None),
            Membership.user_id != leaving, User.deleted_at.is_(None), enabled(User.id), has_way_in(),
        )
    )  # fmt: skip
    if session.scalar(others.limit(1)) is None:
        raise Refused(_LAST_OWNER)


def _withdraw_theirs(session: Session, account_id: int, user_id: int, now: datetime) -> None:
    """Who is no owner any more may still hold links that they made: by none of them does anybody come in."""
    withdraw_open(session, account_id, Invitation.invited_by == user_id, now)


def withdraw_open(session: Session, account_id: int, which: sa.ColumnElement[bool], now: datetime) -> int:
    """How many open invitations of the account were withdrawn."""
    unused = (Invitation.withdrawn_at.is_(None), Invitation.accepted_at.is_(None))
    refs = session.scalars(sa.select(Invitation.ref).where(Invitation.account_id == account_id, which, *unused)).all()
    ended = rowcount(session.execute(sa.update(Invitation).where(Invitation.ref.in_(refs), *unused).values(withdrawn_at=now)))
    end_letters(session, Letter.about.in_(refs), now=now)
    return ended


def _member(session: Session, account_id: int, user_ref: str) -> tuple[User, Membership] | None:
    row = session.execute(
        sa.select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(
            Membership.account_id == account_id, Membership.deleted_at.is_(None), User.ref == user_ref, User.deleted_at.is_(None)
        )
    ).first()  # fmt: skip
    return (row[0], row[1]) if row is not None else None


def _membership(session: Session, account_id: int, user_id: int) -> Membership | None:
    mine = (Membership.account_id == account_id, Membership.user_id == user_id, Membership.deleted_at.is_(None))
    return session.scalar(sa.select(Membership).where(*mine))


def _require_role(role: str) -> None:
    if role not in ROLES:
        raise Refused("Choose a role: owner, manager or viewer. Nothing was changed.", "role")


def _lock(session: Session, account_id: int) -> None:
    session.execute(sa.select(Account.id).where(Account.id == account_id).with_for_update())
