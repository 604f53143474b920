"""Rows that go for good, with every row that refers to them: the bin's end, and the only place where people's rows are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.accounts import Account, Membership
from core.store.db import CHUNK, rowcount
from core.store.endpoints import Domain
from core.store.imports import (
    Import,
    ImportChange,
    ImportedCertificate,
    ImportedChain,
    ImportedIncident,
    ImportedObservation,
    ImportedPerson,
)  # fmt: skip
from core.store.public_incidents import Subscriber
from core.store.watches import Watch

ROOTS: Final = ("watches", "domains", "memberships", "accounts")
"""What may be erased. What many accounts share (endpoints, certificates, people) is referred to by these and stays."""

IMPORTED: Final = (ImportedObservation, ImportedIncident, ImportedCertificate, ImportedChain, ImportedPerson)
UNCONFIRMED_FOR, LEFT_FOR = timedelta(days=7), timedelta(days=30)
"""So long the address of a subscriber is kept that nobody confirmed, and one that left."""


def binned_watches(session: Session, before: datetime, most: int) -> list[int]:
    """Watches that were put into the bin before that, oldest first."""
    where = (Watch.deleted_at.is_not(None), Watch.deleted_at < before)
    return list(session.scalars(sa.select(Watch.id).where(*where).order_by(Watch.deleted_at, Watch.id).limit(most)))


def binned_domains(session: Session, before: datetime, most: int) -> list[int]:
    """Domains in the bin since before that of which no watch is left."""
    none_left = ~sa.exists().where(Watch.domain_id == Domain.id)
    where = (Domain.deleted_at.is_not(None), Domain.deleted_at < before, none_left)
    return list(session.scalars(sa.select(Domain.id).where(*where).order_by(Domain.deleted_at, Domain.id).limit(most)))


def binned_memberships(session: Session, before: datetime, most: int) -> list[int]:
    """Places in accounts that were left before that."""
    where = (Membership.deleted_at.is_not(None), Membership.deleted_at < before)
    return list(session.scalars(sa.select(Membership.id).where(*where).order_by(Membership.deleted_at, Membership.id).limit(most)))


def binned_accounts_left(session: Session, before: datetime, most: int) -> list[int]:
    """Accounts in the bin since before that of which no watch and no domain is left."""
    empty = (~sa.exists().where(Watch.account_id == Account.id), ~sa.exists().where(Domain.account_id == Account.id))
    where = (Account.deleted_at.is_not(None), Account.deleted_at < before, *empty)
    return list(session.scalars(sa.select(Account.id).where(*where).order_by(Account.deleted_at, Account.id).limit(most)))


def account_refs(session: Session, ids: Sequence[int]) -> list[str]:
    """The references of accounts."""
    return list(session.scalars(sa.select(Account.ref).where(Account.id.in_(ids))))


def erase(session: Session, name: str, ids: Sequence[int]) -> int:
    """Delete these rows, and before them what refers to them; a reference that may be empty is emptied. How many of `ids` went.

    What refers to what is read from the database itself, so that no table is forgotten. Raises ValueError for one not in ROOTS.
    """
    if name not in ROOTS:
        raise ValueError(f"rows of {name} are not erased")
    if not ids:
        return 0
    session.flush()
    known = sa.MetaData()
    known.reflect(session.connection())
    for at in range(0, len(ids), CHUNK):
        _erase(session, known.tables[name], ids[at : at + CHUNK])
    return len(ids)


def _erase(session: Session, table: sa.Table, ids: Sequence[Any]) -> None:
    for child, column in _referring(table):
        if column.nullable:
            session.execute(sa.update(child).where(column.in_(ids)).values({column.name: None}))
        elif "id" in child.c:
            below = session.scalars(sa.select(child.c.id).where(column.in_(ids))).all()
            for at in range(0, len(below), CHUNK):
                _erase(session, child, below[at : at + CHUNK])
        else:
            session.execute(sa.delete(child).where(column.in_(ids)))
    session.execute(sa.delete(table).where(table.c.id.in_(ids)))


def _referring(table: sa.Table) -> list[tuple[sa.Table, sa.Column[Any]]]:
    children = table.metadata.sorted_tables
    return [(child, column) for child in children for column in child.columns if column.references(table.c.id)]


def purge_subscribers(session: Session, now: datetime, *, most: int = 1_000) -> int:
    """Drop addresses that nobody confirmed in a week, and those that left a month ago; how many, at most `most`."""
    unconfirmed = sa.and_(Subscriber.confirmed_at.is_(None), Subscriber.asked_at < now - UNCONFIRMED_FOR)
    old = sa.select(Subscriber.id).where(sa.or_(unconfirmed, Subscriber.left_at < now - LEFT_FOR)).limit(most)
    ids = session.scalars(old).all()
    session.execute(sa.delete(Subscriber).where(Subscriber.id.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)


def purge_imports(session: Session, before: datetime, *, most: int = 5_000) -> int:
    """Drop what was brought in and taken back before that, and what imports had changed that can be undone no more; some rows at a time."""
    done = 0
    for table in IMPORTED:
        old = sa.select(table.id).where(table.deleted_at < before).limit(most)
        done += rowcount(session.execute(sa.delete(table).where(table.id.in_(old)).execution_options(synchronize_session=False)))
    over = sa.select(Import.id).where(Import.applied_at < before)
    changes = sa.select(ImportChange.id).where(ImportChange.import_id.in_(over)).limit(most)
    gone = sa.delete(ImportChange).where(ImportChange.id.in_(changes)).execution_options(synchronize_session=False)
    return done + rowcount(session.execute(gone))
