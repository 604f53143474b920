"""Single sign-on: coming in by an identity at the operator's provider, connecting one to oneself, and letting it go.

Nobody is connected by an address alone: whoever got it at the provider, or runs that, would be in. Who is here already signs in by
their own way once and connects it, with their password. A second factor is asked for as after a password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import UNKNOWN, Caller, NewSignIn, begin_sign_in, create_person, token_sha256
from core.actions.letters import end_letters, tell_by_mail
from core.actions.passwords import Checked, require_password
from core.actions.policy import Actor, Refused, require_person
from core.actions.team import enter_as_new
from core.envelope import KeyFile
from core.oidc import Begun, Vouched
from core.store.accounts import User, user_by_email
from core.store.base import new_ref
from core.store.disablings import open_disabling
from core.store.identities import Identity, OidcFlow, flow_place, identity_at, identity_of
from core.store.letters import Letter
from core.store.teams import newest_invitation

LASTS: Final = timedelta(minutes=10)
FlowKind = Literal["enter", "connect"]
LATE: Final = "This took too long, was answered already, or was begun in another browser. Begin anew. Nothing was changed."
_AT_ONCE: Final = "This was done twice in the same moment. Begin anew: one of the two may have gone through."
_NOT_YOU: Final = "If it was not you, disconnect it under Security, choose a new password at once, and tell the operator."


def begin_flow(session: Session, *, kind: FlowKind, user_id: int | None, begun: Begun, keys: KeyFile, now: datetime) -> None:
    """Keep what the provider's answer will be held against."""
    ref = new_ref()
    session.add(
        OidcFlow(
            ref=ref, state_sha256=token_sha256(begun.state), kind=kind, user_id=user_id, nonce=begun.nonce,
            sealed=keys.seal(begun.verifier.encode(), flow_place(ref)), created_at=now, expires_at=now + LASTS, used_at=None,
        )
    )  # fmt: skip
    session.flush()


def require_own_password(session: Session, actor: Actor, *, checked: Checked) -> int:
    """Whose password it is, before they connect an identity: a found browser must not get a way in of its finder's. Raises Refused."""
    return require_password(session, require_person(actor), checked, _not_yours()).id


def take_flow(
    session: Session, *, kind: FlowKind, user_id: int | None, state: str, keys: KeyFile, now: datetime
) -> tuple[str, str]:  # fmt: skip
    """The verifier and the nonce of the way that this state began, which is used up by it. Raises Refused."""
    mine = [OidcFlow.state_sha256 == token_sha256(state), OidcFlow.kind == kind, OidcFlow.used_at.is_(None), OidcFlow.expires_at > now]
    if user_id is not None:
        mine.append(OidcFlow.user_id == user_id)
    used = sa.update(OidcFlow).where(*mine).values(used_at=now)
    flow = session.scalar(used.returning(OidcFlow).execution_options(populate_existing=True))
    if flow is None:
        raise Refused(LATE)
    return keys.open(flow.sealed, flow_place(flow.ref)).decode(), flow.nonce


def enter_by_identity(
    session: Session, *, vouched: Vouched, called: str, sign_up: str, now: datetime, caller: Caller = UNKNOWN, stay: bool = False
) -> NewSignIn:
    """A sign-in of the identity's person; of a new one where the installation, or an invitation, lets them in. Raises Refused.

    `called`: the provider's name. Who is told no learns nothing of an address but what the provider confirmed to be theirs.
    """
    found = identity_at(session, vouched.issuer, vouched.subject)
    if found is None:
        with _once(session):
            user = _new_person(session, vouched, called, sign_up, now)
            _connect(session, user, vouched, called, now)
        append(session, Event("identity.connected.v1", now, f"user:{user.ref}"))
    else:
        identity, user = found
        if user.deleted_at is not None or open_disabling(session, user.id) is not None:
            raise Refused(f"What you are at {called} signs nobody in here any more. Ask the operator of this installation.")
        identity.last_used_at = now
    fresh = begin_sign_in(session, user, now, caller, stay=stay)
    if not fresh.factor_due:
        append(session, Event("user.signed_in.v1", now, f"user:{user.ref}", public={"factor": "provider"}))
    return fresh


def connect_identity(session: Session, actor: Actor, *, vouched: Vouched, called: str, now: datetime) -> str:
    """What the identity is known by, that signs the actor in from now on. Raises Refused for another one's, and for a second one."""
    user = session.get_one(User, require_person(actor), with_for_update=True)
    found = identity_at(session, vouched.issuer, vouched.subject)
    if found is not None and found[1].deleted_at is not None:
        found[0].deleted_at, found = now, None  # its person is gone, and came back as another one
        session.flush()
    if found is not None and found[1].id != user.id:
        raise Refused(f"What you are at {called} is connected to somebody else here. Sign in there as yourself. Nothing was changed.")
    if found is not None or identity_of(session, user.id, vouched.issuer) is not None:
        raise Refused(f"You are connected to {called} already. Disconnect that first, if you want another one. Nothing was changed.")
    with _once(session):
        _connect(session, user, vouched, called, now)
    append(session, Event("identity.connected.v1", now, actor.name))
    return vouched.shown


def disconnect_identity(session: Session, actor: Actor, *, ref: str, called: str, checked: Checked, now: datetime) -> None:
    """It signs the actor in no more. Raises Refused for a wrong password: who has none here would be locked out."""
    user = require_password(session, require_person(actor), checked, _not_yours())
    mine = (Identity.ref == ref, Identity.user_id == user.id, Identity.deleted_at.is_(None))
    identity = session.scalar(sa.select(Identity).where(*mine))
    if identity is None:
        raise Refused("This is disconnected already. Nothing was changed.")
    identity.deleted_at = now
    gone = f"It signs you in no more. {_NOT_YOU.replace('disconnect it under Security, ', '')}"
    tell_by_mail(session, user.email, f"{called} is disconnected from KeyChest", gone, now=now)
    append(session, Event("identity.disconnected.v1", now, actor.name))


def fail_identity(session: Session, *, now: datetime) -> None:
    """What came from the provider did not hold: nobody came in by it."""
    append(session, Event("identity.failed.v1", now, "nobody"))


def _new_person(session: Session, vouched: Vouched, called: str, sign_up: str, now: datetime) -> User:
    """Raises Refused for who is here already, and for whom nobody let in."""
    email = vouched.email.strip().lower()
    if not email:
        raise Refused(
            f"{called} tells of no e-mail address that it confirmed as yours. If you are here already, sign in as before and connect "
            f"{called} under Security. Nothing was changed."
        )
    if user_by_email(session, email) is not None:
        raise Refused(f"You are here already, as {email}. Sign in as before once, then connect {called} under Security, in your menu.")
    invitation = newest_invitation(session, email, now) if sign_up != "closed" else None
    if invitation is not None:
        return enter_as_new(session, token_sha256=invitation, password_hash="", now=now)
    if sign_up != "open":
        whom = "An owner of an account can invite you, or its operator lets" if sign_up == "invitation" else "Its operator lets"
        raise Refused(f"{called} knows you as {email}, and nobody here does. {whom} you in. Nothing was changed.")
    user = create_person(session, email, operator=False, now=now)
    end_letters(session, sa.and_(Letter.kind == "sign_up", Letter.email == email), now=now)
    append(session, Event("user.signed_up.v1", now, f"user:{user.ref}"))
    return user


def _connect(session: Session, user: User, vouched: Vouched, called: str, now: datetime) -> None:
    session.add(
        Identity(
            ref=new_ref(), user_id=user.id, issuer=vouched.issuer, subject=vouched.subject, shown=vouched.shown, created_at=now,
            last_used_at=None, deleted_at=None,
        )
    )  # fmt: skip
    session.flush()
    text = f"{vouched.shown} at {called} signs you in from now on. {_NOT_YOU}"
    tell_by_mail(session, user.email, f"{called} is connected to KeyChest", text, now=now)


@contextmanager
def _once(session: Session) -> Iterator[None]:
    """Raises Refused where somebody made the same rows in the same moment, on an engine that lets both try."""
    try:
        with session.begin_nested():
            yield
    except IntegrityError:
        raise Refused(_AT_ONCE) from None


def _not_yours() -> Refused:
    return Refused("This is not your password. Nothing was changed.", "identity_proof")
