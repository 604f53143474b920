"""What an account brought with it, and which of a file's history it sees here already."""

from __future__ import annotations

import json
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


@dataclass(frozen=True, slots=True)
class BroughtLine:
    """An imported observation as a page shows it. `failure`: what was wrong, "" where a certificate was served."""

    seen_at: datetime
    address: str
    failure: str
    tls: str
    leaf: str
    brought_at: datetime | None


def brought_of(
    session: Session, account_id: int, key: Key, *, until: datetime | None = None, skip: int = 0, most: int
) -> tuple[tuple[BroughtLine, ...], int]:
    """Imported observations of one watch, newest first, and how many there are in all: those not after `until`, as in `history`."""
    i = ImportedObservation
    own = (i.account_id == account_id, i.deleted_at.is_(None), i.name == key[0], i.port == key[1], i.starttls == key[2], i.fixed == key[3])
    count = session.scalar(sa.select(sa.func.count()).select_from(i).where(*own)) or 0
    if not count:
        return (), 0
    rows = session.execute(
        sa.select(i.line, i.seen_at, i.address, Import.applied_at)
        .join(Import, Import.id == i.import_id)
        .where(*own, i.seen_at <= until if until is not None else sa.true())
        .order_by(i.seen_at.desc(), i.id.desc())
        .offset(skip)
        .limit(most)
    ).all()
    lines = [json.loads(row.line) for row in rows]
    chains = _leaves(session, account_id, {line["chain"] for line in lines if line["chain"]})
    return tuple(
        BroughtLine(
            row.seen_at, row.address, (line["failure"] or {}).get("message") or "", (line["tls"] or {}).get("version") or "",
            chains.get(line["chain"] or "", ""), row.applied_at,
        )
        for row, line in zip(rows, lines, strict=True)
    ), count  # fmt: skip


def _leaves(session: Session, account_id: int, names: set[str]) -> dict[str, str]:
    """The subject of the leaf of each of these chains, as it was brought."""
    where = (ImportedChain.account_id == account_id, ImportedChain.deleted_at.is_(None), ImportedChain.chain.in_(names))
    chains = session.execute(sa.select(ImportedChain.chain, ImportedChain.certificates).where(*where))
    first = {chain: certificates[0] for chain, certificates in chains if certificates}
    c = ImportedCertificate
    own = (c.account_id == account_id, c.deleted_at.is_(None), c.sha256.in_(first.values()))
    rows = session.execute(sa.select(c.sha256, c.line).where(*own))
    subjects = {sha256: json.loads(line).get("subject") or "" for sha256, line in rows}
    return {chain: subjects.get(leaf, "") for chain, leaf in first.items()}


@dataclass(frozen=True, slots=True)
class BroughtIncident:
    """An imported incident as a page shows it."""

    opened_at: datetime
    closed_at: datetime | None
    message: str


def incidents_brought_of(session: Session, account_id: int, key: Key, *, most: int) -> tuple[BroughtIncident, ...]:
    """The newest imported incidents of one watch."""
    i = ImportedIncident
    own = (i.account_id == account_id, i.deleted_at.is_(None), i.name == key[0], i.port == key[1], i.starttls == key[2], i.fixed == key[3])
    rows = session.execute(sa.select(i.opened_at, i.line).where(*own).order_by(i.opened_at.desc(), i.id.desc()).limit(most))
    found = []
    for at, line in rows:
        told = json.loads(line)
        found.append(BroughtIncident(at, datetime.fromisoformat(told["closed_at"]) if told["closed_at"] else None, told["message"]))
    return tuple(found)
