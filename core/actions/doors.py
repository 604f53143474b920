"""What people do by mail without anybody's help: come in for the first time, choose a new password, change their address.

Who asks learns nothing of who is known here: both answers do the same work, and the difference is in a mail that its owner alone reads.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.log import Event, append
from core.actions.accounts import (
    CHANGED,
    UNKNOWN,
    Caller,
    NewSignIn,
    begin_sign_in,
    create_person,
    keep_password,
    require_address,
    token_sha256,
)
from core.actions.letters import end_letters, tell_by_mail, write_letter
from core.actions.passwords import Checked, PasswordHash, require_password
from core.actions.policy import Actor, Refused, require_person
from core.store.accounts import User, user_by_email
from core.store.base import new_ref
from core.store.disablings import open_disabling
from core.store.letters import Letter, usable_letter

RESET_LASTS: Final = timedelta(hours=1)
LINK_LASTS: Final = timedelta(hours=24)
AskedKind = Literal["reset", "sign_up"]
_GONE: Final = "This link was used already or has run out. Ask for a new one."
_SAME: Final = "This is your address already. Nothing was changed."


def ask_by_mail(session: Session, kind: AskedKind, *, email: str, now: datetime) -> None:
    """A mail with a link to choose a password by: of the person with this address, or of a new one. Raises Refused for no address."""
    email = email.strip().lower()
    require_address(email)
    write_letter(session, kind, email=email, lasts=RESET_LASTS if kind == "reset" else LINK_LASTS, now=now)


def open_letter(session: Session, kind: str, *, token: str, now: datetime) -> Letter:
    """The letter whose link this is. Raises Refused for one that was used or ran out."""
    letter = usable_letter(session, kind, token_sha256(token), now)
    if letter is None:
        raise Refused(_GONE)
    return letter


def reset_password(session: Session, *, token: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN) -> NewSignIn:
    """Keep the password of the person the link was mailed to, end all their other sign-ins and links, and sign them in. Raises Refused."""
    letter = open_letter(session, "reset", token=token, now=now)
    user = user_by_email(session, letter.email, let_in=True)
    if user is None or user.id != letter.user_id:
        raise Refused(_GONE)
    keep_password(session, user, password_hash, now)
    tell_by_mail(session, user.email, "Your password for KeyChest was changed", CHANGED, now=now)
    append(session, Event("password.reset.v1", now, f"user:{user.ref}"))
    return begin_sign_in(session, user, now, caller)


def sign_up(session: Session, *, token: str, password_hash: PasswordHash, now: datetime, caller: Caller = UNKNOWN) -> NewSignIn:
    """A user with the address that the link was mailed to and an account of their own, signed in. Raises Refused."""
    letter = open_letter(session, "sign_up", token=token, now=now)
    user = create_person(session, letter.email, operator=False, now=now)
    user.password_hash = password_hash
    end_letters(session, sa.and_(Letter.kind == "sign_up", Letter.email == letter.email), now=now)
    append(session, Event("user.signed_up.v1", now, f"user:{user.ref}"))
    return begin_sign_in(session, user, now, caller)


def ask_new_email(session: Session, actor: Actor, *, checked: Checked, email: str, now: datetime) -> None:
    """Two mails: the address changes once the links in both were used. Raises Refused for a wrong password and for no address.

    What was asked before ends by it. Whether somebody else has the address is told to its owner alone, as the last link is used.
    """
    wrong = Refused("This is not your password. Nothing was changed.", "proof")
    user = require_password(session, require_person(actor), checked, wrong)
    email = email.strip().lower()
    require_address(email)
    if email == user.email:
        raise Refused(_SAME, "email")
    both = sa.and_(Letter.user_id == user.id, Letter.kind.in_(("email_old", "email_new")))
    end_letters(session, both, now=now)
    about, words = new_ref(), {"from": user.email, "to": email}
    write_letter(session, "email_old", email=user.email, user_id=user.id, about=about, words=words, lasts=LINK_LASTS, now=now)
    write_letter(session, "email_new", email=email, user_id=user.id, about=about, words=words, lasts=LINK_LASTS, now=now)
    append(session, Event("email_change.asked.v1", now, actor.name))


def confirm_email(session: Session, *, kind: Literal["email_old", "email_new"], token: str, now: datetime) -> str:
    """Use one of the two links. The new address once it holds, "" while the other link is still to be used. Raises Refused."""
    letter = open_letter(session, kind, token=token, now=now)
    user = session.get_one(User, letter.user_id, with_for_update=True)
    email = str(letter.words["to"])
    if user.deleted_at is not None or open_disabling(session, user.id) is not None or user.email != letter.words["from"]:
        raise Refused(_GONE)
    letter.used_at = now
    session.flush()
    unused = (Letter.about == letter.about, Letter.used_at.is_(None))
    if session.scalar(sa.select(Letter.id).where(*unused).limit(1)) is not None:
        return ""
    if user_by_email(session, email) is not None:
        raise Refused(f"{email} cannot be used: somebody else here has it by now. Your address stays as it was.")
    user.email = email
    end_letters(session, sa.and_(Letter.kind == "reset", Letter.email == letter.words["from"]), now=now)
    told = f"You sign in with {email} from now on, and mails go there. This is the last one to this address."
    tell_by_mail(session, str(letter.words["from"]), "Your address for KeyChest was changed", told, now=now)
    append(session, Event("email.changed.v1", now, f"user:{user.ref}", private={"from": letter.words["from"], "to": email}))
    return email
