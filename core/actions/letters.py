"""Letters on their way: written by what somebody did, sent by a worker, and what became of them.

The token of a letter's link is made as the letter leaves, and is kept nowhere: a letter that is tried again bears another one. A letter
never leaves twice; where a killed worker leaves us not knowing, it counts as unsure, and whoever waits for it asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.channels import Delivery
from core.store.base import new_ref
from core.store.letters import Letter, due_letters
from core.store.teams import Invitation

LetterKind = Literal["reset", "sign_up", "invitation", "email_old", "email_new", "told", "export_ready", "status_confirm", "status_told"]
TOLD_WITHIN: Final = timedelta(days=2)
LEASE: Final = timedelta(minutes=3)
FIRST_RETRY, LAST_RETRY = timedelta(seconds=30), timedelta(hours=1)


def write_letter(
    session: Session,
    kind: LetterKind,
    *,
    email: str,
    lasts: timedelta,
    now: datetime,
    user_id: int | None = None,
    account_id: int | None = None,
    about: str = "",
    words: Mapping[str, str] | None = None,
) -> None:
    """A letter to this address, that is not sent any more after `lasts`; its link ends then too."""
    session.add(
        Letter(
            ref=new_ref(),
            kind=kind,
            email=email,
            user_id=user_id,
            account_id=account_id,
            about=about,
            words=dict(words or {}),
            created_at=now,
            expires_at=now + lasts,
            due_at=now,
            lease_until=None,
            token_sha256=None,
            handed_at=None,
            ended_at=None,
            used_at=None,
        )
    )
    session.flush()


def tell_by_mail(session: Session, email: str, subject: str, text: str, *, now: datetime, account_id: int | None = None) -> None:
    """Tell a person what was done to what is theirs, so that they can undo what they did not want."""
    write_letter(session, "told", email=email, account_id=account_id, words={"subject": subject, "text": text}, lasts=TOLD_WITHIN, now=now)


def claim_letters(session: Session, *, most: int, now: datetime) -> list[Letter]:
    """Take letters to send; those that ran out meanwhile end. What goes to many lets what one person waits for go first."""
    due = sa.select(Letter).where(*due_letters(now)).order_by(Letter.kind == "status_told", Letter.due_at, Letter.id).limit(most)
    taken = []
    for letter in session.scalars(due.with_for_update(skip_locked=True)):
        if letter.expires_at <= now:
            letter.ended_at, letter.outcome = now, "failed"
            continue
        letter.lease_until = now + LEASE
        letter.attempts += 1
        taken.append(letter)
    session.flush()
    return taken


def hand_letter(session: Session, letter: Letter, *, token_sha256: str | None, user_id: int | None, now: datetime) -> bool:
    """Mark the letter as leaving with this link. `user_id`: whose password it lets choose. False when it is not ours to send any more."""
    invitation = _invitation(session, letter)  # held first, as by those who invite: else each would wait for the other
    mine = (Letter.id == letter.id, Letter.ended_at.is_(None), Letter.handed_at.is_(None), Letter.lease_until > now)
    found = session.scalar(sa.select(Letter).where(*mine).with_for_update())
    if found is None:
        return False
    found.handed_at = now
    if invitation is not None:
        invitation.token_sha256 = token_sha256 or ""
    else:
        found.token_sha256, found.user_id = token_sha256, user_id or found.user_id
    session.flush()
    return True


def _invitation(session: Session, letter: Letter) -> Invitation | None:
    if letter.kind != "invitation":
        return None
    return session.scalar(sa.select(Invitation).where(Invitation.ref == letter.about).with_for_update())


def record_letter(session: Session, letter_id: int, delivery: Delivery, *, now: datetime) -> None:
    """What became of it. What was certainly not sent is tried again, later and later, until it runs out."""
    letter = session.get_one(Letter, letter_id, with_for_update=True)
    letter.lease_until = None
    if delivery.outcome == "elsewhere" or letter.ended_at is not None:
        return
    letter.last_error = delivery.error
    if delivery.outcome == "failed":
        letter.handed_at, letter.token_sha256 = None, None
        letter.due_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(letter.attempts - 1, 10))
    else:
        letter.ended_at, letter.outcome = now, delivery.outcome
    session.flush()


def end_letters(session: Session, which: sa.ColumnElement[bool], *, now: datetime) -> None:
    """What these were to say is not true any more: those that have not left stay here, and links of those that have are worth nothing."""
    session.execute(sa.update(Letter).where(which, Letter.ended_at.is_(None)).values(ended_at=now, outcome="gone"))
    session.execute(sa.update(Letter).where(which, Letter.used_at.is_(None)).values(used_at=now))
