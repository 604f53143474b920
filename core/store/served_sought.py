"""Which of an account's served leaves a text means: by the names they are served at, by subject, issuer, serial number or fingerprint."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.db import postgresql
from core.store.leaves import ServedLeaf, served_by
from core.store.observations import Certificate, Current, Observation
from core.store.sought import FEW, SHORT, as_sought, contains, narrowed
from core.store.watches import Watch

_SHORTEST_DIGITS: Final = 4
_HEX: Final = frozenset("0123456789abcdef")
_AFTER_HEX: Final = "g"


def matching(session: Session, account_id: int, text: str) -> tuple[sa.ColumnElement[bool], bool]:
    """A condition on ServedLeaf, and whether few rows meet it.

    Where finds are few they are taken out here; where they are many, each row is looked at as the list goes.
    """
    told = _told(session, account_id, text)
    named = _named(session, account_id, as_sought(text.lower()))
    if told is not None and named is not None:
        found = told | named | _by_digits(session, account_id, text)
        return ServedLeaf.leaf_sha256.in_(found), True
    first = served_by(ServedLeaf.account_id, ServedLeaf.leaf_sha256).where(contains(Watch.sought, as_sought(text.lower()))).limit(1)
    watched = first.correlate(ServedLeaf).scalar_subquery()  # with a limit, PostgreSQL looks row by row instead of at all watches at once
    each = sa.or_(
        contains(ServedLeaf.sought, text.lower()) if told is None else ServedLeaf.leaf_sha256.in_(told),
        watched.is_not(None) if named is None else ServedLeaf.leaf_sha256.in_(named),
        *_digits(text),
    )
    return each, False


def _told(session: Session, account_id: int, text: str) -> set[str] | None:
    """Leaves by subject or issuer; None where they are more than FEW."""
    lower = text.lower()
    few = narrowed(session, "served_leaves", lower)
    if few is None and len(lower) >= SHORT and not postgresql(session):
        return None
    where = [(ServedLeaf.account_id if few is None else ServedLeaf.account_id + 0) == account_id, contains(ServedLeaf.sought, lower)]
    query = sa.select(ServedLeaf.leaf_sha256).where(*where).limit(FEW + 1)
    found = session.scalars(query if few is None else query.where(ServedLeaf.id.in_(few))).all()
    return set(found) if len(found) <= FEW else None


def _named(session: Session, account_id: int, sought: str) -> set[str] | None:
    """Leaves by the names of watches; None where those are more than FEW."""
    few = narrowed(session, "watches", sought)
    if few is None and not postgresql(session):
        return None
    where = [Watch.account_id + 0 == account_id, Watch.deleted_at.is_(None), contains(Watch.sought, sought)]
    query = sa.select(Watch.endpoint_id).where(*where).limit(FEW + 1)
    endpoints = session.scalars(query if few is None else query.where(Watch.id.in_(few))).all()
    if len(endpoints) > FEW:
        return None
    leaves = (
        sa.select(Observation.leaf_sha256)
        .join(Current, sa.and_(Current.observation_id == Observation.id, Current.gone_at.is_(None)))
        .where(Current.endpoint_id.in_(endpoints), Observation.leaf_sha256.is_not(None))
    )
    return {leaf for leaf in session.scalars(leaves) if leaf is not None}


def _read(text: str) -> str:
    """The digits of a fingerprint or serial number however they are grouped; "" for what is none."""
    digits = "".join(char for char in text.lower() if char not in " :…")
    return digits if len(digits) >= _SHORTEST_DIGITS and set(digits) <= _HEX else ""


def _digits(text: str) -> list[sa.ColumnElement[bool]]:
    """As conditions on a row that is looked at anyway."""
    digits = _read(text)
    serial = sa.select(Certificate.serial).where(Certificate.sha256 == ServedLeaf.leaf_sha256).correlate(ServedLeaf).scalar_subquery()
    return [ServedLeaf.leaf_sha256.startswith(digits), serial.startswith(digits.lstrip("0"))] if digits else []


def _by_digits(session: Session, account_id: int, text: str) -> set[str]:
    """As ranges of indexes: what begins with these digits lies between them and them with the letter after f."""
    digits = _read(text)
    if not digits:
        return set()
    own = sa.select(ServedLeaf.leaf_sha256).where(ServedLeaf.account_id + 0 == account_id)
    serial = digits.lstrip("0")
    serials = sa.select(Certificate.sha256).where(Certificate.serial >= serial, Certificate.serial < serial + _AFTER_HEX)
    between = (ServedLeaf.leaf_sha256 >= digits, ServedLeaf.leaf_sha256 < digits + _AFTER_HEX)
    return {*session.scalars(own.where(*between)), *session.scalars(own.where(ServedLeaf.leaf_sha256.in_(serials)))}
