"""What operators do with users: keep them out, let them in again, and say who runs the installation.

Some operator who can sign in is always left: those there are, are held before one of them goes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.letters import end_letters, tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import INSTALLATION_POLICY, Actor, NotAllowed, Permission, Refused, require_installation, require_person
from core.store.accounts import LoginSession, OneTimeLink, User
from core.store.disablings import UserDisabling, enabled, open_disabling
from core.store.identities import has_way_in
from core.store.letters import Letter
from core.store.teams import Invitation

_LAST: Final = "They are the only operator who can sign in. Make somebody else an operator first. Nothing was changed."
_OUT: Final = (
    "An operator disabled you. Your sign-ins have ended, nothing lets you in, and your API tokens read nothing. What you did stays as it "
    "is. If that is a mistake, write to whoever runs this KeyChest."
)
_IN: Final = "An operator enabled you again. Sign in as before; API tokens of yours that have not ended read again."


def disable_user(session: Session, actor: Actor, *, user_ref: str, now: datetime) -> str | None:
    """The address of the user whom nothing lets in from now on; None where there is none. Raises Refused for oneself and the last operator.

    Sign-ins, links and open invitations of theirs end; API tokens read nothing meanwhile. Their places in accounts stay.
    """
    require_installation(actor, Permission.OPERATE)
    held = _operators(session, actor)
    user = _user(session, user_ref)
    if user is None:
        return None
    if user.id == actor.user_id:
        raise Refused("You cannot disable yourself. Ask another operator. Nothing was changed.")
    if open_disabling(session, user.id) is not None:
        return user.email
    _keep_one(held, user)
    session.add(UserDisabling(user_id=user.id, disabled_at=now, disabled_by=actor.user_id, enabled_at=None, enabled_by=None))
    _end_all(session, user, now)
    tell_by_mail(session, user.email, "You cannot sign in to KeyChest any more", _OUT, now=now)
    append(session, Event("user.disabled.v1", now, actor.name, private={"user": user.ref}))
    return user.email


def enable_user(session: Session, actor: Actor, *, user_ref: str, now: datetime) -> str | None:
    """The address of the user who may sign in again; None where there is none. No sign-in of before is worth anything."""
    require_installation(actor, Permission.OPERATE)
    user = _user(session, user_ref)
    if user is None:
        return None
    row = open_disabling(session, user.id)
    if row is None:
        return user.email
    _end_all(session, user, now)  # also what began in the moment of the disabling
    row.enabled_at, row.enabled_by = now, actor.user_id
    session.flush()
    tell_by_mail(session, user.email, "You can sign in to KeyChest again", _IN, now=now)
    append(session, Event("user.enabled.v1", now, actor.name, private={"user": user.ref}))
    return user.email


def give_installation_role(session: Session, actor: Actor, *, user_ref: str, role: str, checked: Checked, now: datetime) -> str | None:
    """The address of the user who has this role on the installation now, "" for none; None where there is no such user.

    Every sign-in of another person's ends by it. Raises Refused for a wrong password, an unknown role, who is disabled, and for the last
    operator.
    """
    require_installation(actor, Permission.OPERATE)
    held = _operators(session, actor)
    wrong = Refused("This is not your password. Nothing was changed.", "proof")
    require_password(session, require_person(actor), checked, wrong)
    user = _user(session, user_ref)
    if user is None:
        return None
    if role not in {"", *INSTALLATION_POLICY}:
        raise Refused("Choose a role: operator, auditor or none. Nothing was changed.", "role")
    if open_disabling(session, user.id) is not None:
        raise Refused("This user is disabled. Enable them first. Nothing was changed.", "role")
    before = user.installation_role
    if before == role:
        return user.email
    if before == "operator":
        _keep_one(held, user)
    user.installation_role = role
    if user.id != actor.user_id:  # who reached a sign-in of theirs before reaches no more by it
        theirs = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None))
        session.execute(sa.update(LoginSession).where(*theirs).values(ended_at=now))
    subject = f"You are an {role} of this KeyChest now" if role else f"You are no {before} of this KeyChest any more"
    tell_by_mail(session, user.email, subject, "An operator changed your role on the installation. Sign in anew.", now=now)
    append(session, Event("installation_role.changed.v1", now, actor.name, "", {"from": before, "to": role}, {"user": user.ref}))
    return user.email


def _operators(session: Session, actor: Actor) -> set[int]:
    """Operators who can sign in, held until the transaction ends. Raises NotAllowed for an actor who is none of them by now.

    Asked for again once they are held: who waited for another one's act has to see what it did.
    """
    them = (User.installation_role == "operator", User.deleted_at.is_(None))
    session.execute(sa.select(User.id).where(*them).order_by(User.id).with_for_update())
    found = set(session.scalars(sa.select(User.id).where(*them, has_way_in(), enabled(User.id))))
    if not actor.terminal and actor.user_id not in found:
        raise NotAllowed("You are no operator any more. Nothing was changed.")
    return found


def _user(session: Session, ref: str) -> User | None:
    where = (User.ref == ref, User.deleted_at.is_(None))
    return session.scalar(sa.select(User).where(*where).with_for_update().execution_options(populate_existing=True))


def _keep_one(held: set[int], user: User) -> None:
    if held == {user.id}:
        raise Refused(_LAST, "role")


def _end_all(session: Session, user: User, now: datetime) -> None:
    """Sign-ins, whole and half, links to choose a password by, and invitations that they made and might use under another name."""
    theirs = (LoginSession.user_id == user.id, LoginSession.ended_at.is_(None))
    session.execute(sa.update(LoginSession).where(*theirs).values(ended_at=now))
    session.execute(sa.update(OneTimeLink).where(OneTimeLink.user_id == user.id, OneTimeLink.used_at.is_(None)).values(used_at=now))
    end_letters(session, sa.and_(Letter.kind == "reset", Letter.email == user.email), now=now)
    unused = (Invitation.invited_by == user.id, Invitation.withdrawn_at.is_(None), Invitation.accepted_at.is_(None))
    refs = session.scalars(sa.select(Invitation.ref).where(*unused)).all()
    session.execute(sa.update(Invitation).where(Invitation.ref.in_(refs), *unused).values(withdrawn_at=now))
    end_letters(session, Letter.about.in_(refs), now=now)
