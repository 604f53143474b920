"""Who wants public incidents by mail: asked for by anybody, confirmed by mail, and left with one click.

Who asks learns nothing of who is told already. Addresses are shown to nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.accounts import require_address
from core.actions.doors import open_letter
from core.actions.letters import write_letter
from core.actions.policy import Refused
from core.store.base import new_ref
from core.store.db import insert_missing
from core.store.public_incidents import Subscriber

CONFIRM_WITHIN: Final = timedelta(days=2)
_GONE: Final = "This link was used already or has run out. Ask for a new one."


def ask_status_mail(session: Session, *, email: str, now: datetime) -> None:
    """A mail by which this address is confirmed, or that says that it is. Raises Refused for no address."""
    email = email.strip().lower()
    require_address(email)
    fresh = {"ref": new_ref(), "email": email, "asked_at": now, "confirmed_at": None, "left_at": None}
    insert_missing(session, Subscriber, [fresh])
    row = _there(session, Subscriber.email == email)
    if row is None:
        raise Refused("This was not kept, since the address left at the same moment. Ask once more.", "email")
    row.asked_at = now
    words = {"there": "yes" if row.confirmed_at else ""}
    write_letter(session, "status_confirm", email=email, about=row.ref, words=words, lasts=CONFIRM_WITHIN, now=now)


def confirm_status_mail(session: Session, *, token: str, now: datetime) -> None:
    """The address gets what becomes public from now on. Raises Refused for a link that was used or ran out."""
    letter = open_letter(session, "status_confirm", token=token, now=now)
    row = _there(session, Subscriber.ref == letter.about)
    if row is None:
        raise Refused(_GONE)
    letter.used_at, row.confirmed_at = now, row.confirmed_at or now
    session.flush()


def leave_status_mail(session: Session, *, ref: str, now: datetime) -> None:
    """Nothing goes to this subscriber any more, what is on its way included. Twice is as once."""
    row = _there(session, Subscriber.ref == ref)
    if row is not None:
        row.left_at = now
        session.flush()


def _there(session: Session, which: sa.ColumnElement[bool]) -> Subscriber | None:
    """The subscriber, held until the transaction ends; None for one that left."""
    wanted = sa.select(Subscriber).where(which, Subscriber.left_at.is_(None))
    return session.scalar(wanted.with_for_update().execution_options(populate_existing=True))
