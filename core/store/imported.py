"""What an account brought with it, and which of a file's history it sees here already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.imports import Import, ImportChange, ImportedCertificate, ImportedChain, ImportedIncident, ImportedObservation
from core.store.incidents import Incident
from core.store.observations import Current, Observation
from core.store.watches import Key, Watch

Seen = tuple[Key, str, str, str, datetime, str]
"""An observation: of which watch, from where, at which address, by which kind of key, when, and what was seen."""


@dataclass(frozen=True, slots=True)
class ImportLine:
    """An import in a list. `by`: who handed it in, "" for the terminal."""

    ref: str
    name: str
    form: str
    state: str
    handed_in_at: datetime
    applied_at: datetime | None
    undone_at: datetime | None
    summary: dict[str, Any]
    error: str


def imports_of(session: Session, account_id: int, *, most: int = 50) -> tuple[ImportLine, ...]:
    """The newest imports of an account that were not dropped."""
    rows = session.scalars(
        sa.select(Import).where(Import.account_id == account_id, Import.state != "dropped").order_by(Import.id.desc()).limit(most)
    )
    return tuple(
        ImportLine(row.ref, row.name, row.form, row.state, row.handed_in_at, row.applied_at, row.undone_at, row.summary, row.error)
        for row in rows
    )


def import_by_ref(session: Session, account_id: int, ref: str, *, hold: bool = False) -> Import | None:
    """The account's import with this reference; with `hold`, until the transaction ends."""
    query = sa.select(Import).where(Import.account_id == account_id, Import.ref == ref).execution_options(populate_existing=True)
    return session.scalar(query.with_for_update() if hold else query)


def imports_waiting(session: Session, now: datetime) -> list[int]:
    """Imports that somebody waits for, and nobody has in hand."""
    states = ("waiting", "reading", "wanted", "applying")
    free = sa.or_(Import.lease_until.is_(None), Import.lease_until <= now)
    return list(session.scalars(sa.select(Import.id).where(Import.state.in_(states), free).order_by(Import.id).limit(20)))


def seen_of(session: Session, account_id: int, names: Sequence[str]) -> set[Seen]:
    """What the account sees of these names, from its own watches or brought earlier. Times are as exports tell them."""
    o = Observation
    own = session.execute(
        sa.select(
            Watch.name, Watch.port, Watch.starttls, Watch.address, o.perspective, o.address.label("at"), o.key_asked, o.seen_at,
            Watch.since_at, o.content_sha256,
        )
        .join(o, o.endpoint_id == Watch.endpoint_id)
        .outerjoin(Current, Current.observation_id == o.id)
        .where(
            Watch.account_id == account_id, Watch.deleted_at.is_(None), Watch.name.in_(names),
            sa.or_(o.seen_at >= Watch.since_at, Current.last_seen_at >= Watch.since_at),
        )
    )  # fmt: skip
    found: set[Seen] = {(row[:4], row[4], row[5], row[6], max(row[7], row[8]), row[9]) for row in map(tuple, own)}
    i = ImportedObservation
    brought = session.execute(
        sa.select(i.name, i.port, i.starttls, i.fixed, i.perspective, i.address, i.key_asked, i.seen_at, i.content_sha256).where(
            i.account_id == account_id, i.deleted_at.is_(None), i.name.in_(names)
        )
    )
    return found | {((n, p, s, f), where, at, key, seen, content) for n, p, s, f, where, at, key, seen, content in brought}


def incidents_seen(session: Session, account_id: int, names: Sequence[str]) -> set[tuple[Key, datetime, str, str]]:
    """Incidents that the account knows of these names: of which watch, since when, by which check, about which certificate."""
    n = Incident
    own = session.execute(
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, n.opened_at, n.check, n.certificate)
        .join(Watch, Watch.id == n.watch_id)
        .where(n.account_id == account_id, Watch.deleted_at.is_(None), Watch.name.in_(names))
    )
    i = ImportedIncident
    brought = session.execute(
        sa.select(i.name, i.port, i.starttls, i.fixed, i.opened_at, i.check, i.certificate).where(
            i.account_id == account_id, i.deleted_at.is_(None), i.name.in_(names)
        )
    )
    return {((n, p, s, f), at, check, certificate) for rows in (own, brought) for n, p, s, f, at, check, certificate in rows}


def chains_brought(session: Session, account_id: int) -> set[str]:
    """Chains that the account brought earlier."""
    where = (ImportedChain.account_id == account_id, ImportedChain.deleted_at.is_(None))
    return set(session.scalars(sa.select(ImportedChain.chain).where(*where)))


def certificates_brought(session: Session, account_id: int) -> set[str]:
    """Certificates that it brought earlier."""
    where = (ImportedCertificate.account_id == account_id, ImportedCertificate.deleted_at.is_(None))
    return set(session.scalars(sa.select(ImportedCertificate.sha256).where(*where)))


def changes_of(session: Session, import_id: int) -> Iterable[ImportChange]:
    """What an import changed, the last thing first."""
    return session.scalars(sa.select(ImportChange).where(ImportChange.import_id == import_id).order_by(ImportChange.id.desc()))
