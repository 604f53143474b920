"""Erasing: salts and values go, what strangers see stays, and every proof holds. A list outside the database makes it last."""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.keeper import Keeper
from audit.tables import CountedEvent, Erasure, PrivatePart
from core.store.db import CHUNK, Sessions

Place = tuple[int, int]
"""The number of a log, and an index in it."""
Seen = tuple[int, int]
"""The newest erasure in the database, and when the list outside was written."""


def private_of_account(session: Session, account_ref: str) -> list[Place]:
    """Where the private parts of an account's entries are."""
    found = session.execute(sa.select(PrivatePart.log, PrivatePart.index).where(PrivatePart.account_ref == account_ref))
    return [(log, index) for log, index in found]


def private_of_person(session: Session, user_ref: str) -> list[Place]:
    """Where the private parts of what a person did are."""
    found = session.execute(sa.select(PrivatePart.log, PrivatePart.index).where(PrivatePart.actor == f"user:{user_ref}"))
    return [(log, index) for log, index in found]


def private_naming(session: Session, words: str) -> list[Place]:
    """Where private parts hold these words as a value, such as an address that somebody else was invited by."""
    text = sa.cast(PrivatePart.sealed, sa.Text)
    either = [text.contains(json.dumps(words, ensure_ascii=ascii_only), autoescape=True) for ascii_only in (True, False)]
    found = session.execute(sa.select(PrivatePart.log, PrivatePart.index).where(sa.or_(*either)))
    return [(log, index) for log, index in found]


def erase_private(session: Session, places: list[Place], now: datetime) -> int:
    """Erase the private parts at these places; how many there were. Part of an action, which asks the policy and appends an event."""
    erased = 0
    for log in sorted({each[0] for each in places}):
        indexes = sorted(index for number, index in places if number == log)
        for at in range(0, len(indexes), CHUNK):
            some = indexes[at : at + CHUNK]
            chosen = sa.select(PrivatePart.index).where(PrivatePart.log == log, PrivatePart.index.in_(some))
            there = session.scalars(chosen).all()
            if there:
                session.execute(sa.delete(PrivatePart).where(PrivatePart.log == log, PrivatePart.index.in_(there)))
                session.execute(sa.insert(Erasure), [{"log": log, "index": index, "at": now} for index in there])
            erased += len(there)
    return erased


def erase_counted(session: Session, user_ref: str) -> int:
    """Erase what was counted of a person, or names them: commitments stay, so that the digest can be made again. How many."""
    theirs = sa.or_(CountedEvent.actor == f"user:{user_ref}", sa.cast(CountedEvent.private, sa.Text).contains(json.dumps(user_ref)))
    gone = sa.update(CountedEvent).where(theirs, CountedEvent.index.is_not(None)).execution_options(synchronize_session=False)
    done = session.execute(gone.values(actor="", salt="", public={}, private={}))
    return int(done.rowcount)  # type: ignore[attr-defined]


def carry_erasures(sessions: Sessions, keeper: Keeper, now: datetime, carried: Seen | None) -> Seen:
    """The list outside and the database agree: what either knows to be erased is so in both. Raises KeeperError, OSError.

    What it saw, for the next time: where both are as they were then, nothing is read.
    """
    seen = _seen(sessions, keeper)
    if seen == carried:
        return seen
    outside = keeper.erased()
    with sessions.reading() as session:
        inside = {(log, index) for log, index in session.execute(sa.select(Erasure.log, Erasure.index))}
    if inside - outside:
        keeper.keep_erased(sorted(inside | outside))
    if outside - inside:
        with sessions.writing() as session:
            erase_private(session, sorted(outside - inside), now)
            known = {(log, index) for log, index in session.execute(sa.select(Erasure.log, Erasure.index))}
            rest = [{"log": log, "index": index, "at": now} for log, index in sorted(outside - known)]
            if rest:  # entries that a restored database does not have: they are erased should they come back
                session.execute(sa.insert(Erasure), rest)
    return _seen(sessions, keeper)


def _seen(sessions: Sessions, keeper: Keeper) -> Seen:
    with sessions.reading() as session:
        return session.scalar(sa.select(sa.func.max(Erasure.id))) or 0, keeper.erased_changed()
