"""What goes into an account's export, in the order in which it is written: by code points, whatever the database's own order is.

Everything is asked in one transaction, some rows at a time. `Reach` says what is in reach: what is live, and for an account in the bin what
went there with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.account_rules import AccountRules
from core.store.accounts import Account, Membership, User
from core.store.base import Base
from core.store.cards import Written, written_on
from core.store.db import CHUNK, postgresql
from core.store.endpoints import Domain
from core.store.exports import ExportPlan
from core.store.imports import ImportedChain, ImportedIncident, ImportedObservation, ImportedPerson
from core.store.incidents import Incident
from core.store.observations import Current, Observation
from core.store.watches import Watch

_AT_ONCE: Final = 2_000
_STREAM: Final = {"yield_per": _AT_ONCE}


@dataclass(frozen=True, slots=True)
class Reach:
    """`gone_at`: when the account went into the bin. `since`: from when on history is wanted, None for all; `history`: whether it is."""

    account_id: int
    gone_at: datetime | None
    since: datetime | None = None
    history: bool = True

    def there(self, table: type[Base]) -> sa.ColumnElement[bool]:
        """Whether a row of this table is in reach."""
        deleted_at = table.__table__.c.deleted_at
        return deleted_at.is_(None) if self.gone_at is None else sa.or_(deleted_at.is_(None), deleted_at == self.gone_at)


def account_of(session: Session, account_id: int) -> Account:
    """The account itself, in the bin or not."""
    return session.get_one(Account, account_id)


def factor_required(session: Session, account_id: int) -> bool:
    """Whether the account asks its members for a second factor."""
    where = (AccountRules.account_id == account_id, AccountRules.factor_since.is_not(None))
    return session.scalar(sa.select(sa.exists().where(*where))) or False


def plans_of(session: Session, account_id: int) -> list[tuple[str, str, str, str, str]]:
    """Every, history, place, address and recipient of each plan of exports; never its secret."""
    rows = session.execute(
        sa.select(ExportPlan.every, ExportPlan.history, ExportPlan.place, ExportPlan.address, ExportPlan.recipient).where(
            ExportPlan.account_id == account_id, ExportPlan.deleted_at.is_(None)
        )
    )
    return sorted((row[0], row[1], row[2], row[3], row[4]) for row in rows)


def people_of(session: Session, reach: Reach) -> list[tuple[str, str, datetime]]:
    """Address, role and beginning of each member."""
    rows = session.execute(
        sa.select(User.email, Membership.role, Membership.created_at)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id == reach.account_id, Membership.deleted_at.is_(None), User.deleted_at.is_(None))
    )
    return sorted((row[0], row[1], row[2]) for row in rows)


def domains_of(session: Session, reach: Reach) -> Iterator[tuple[str, str, datetime, Written]]:
    """Name, kind, beginning and card of each domain, by name. Who is responsible may be somebody of whom an import said so."""
    after = ""
    while True:
        rows = session.execute(
            sa.select(Domain.id, Domain.name, Domain.kind, Domain.created_at)
            .where(Domain.account_id == reach.account_id, reach.there(Domain), _ordered(session, Domain.name) > after)
            .order_by(_ordered(session, Domain.name), Domain.id)
            .limit(CHUNK)
        ).all()
        cards = written_on(session, [row.id for row in rows])
        said = said_of(session, [row.id for row in rows])
        for row in rows:
            card = cards[row.id]
            yield row.name, row.kind, row.created_at, card if card.responsible or row.id not in said else said_to(card, said[row.id])
        if len(rows) < CHUNK:
            return
        after = rows[-1].name


def said_to(card: Written, email: str) -> Written:
    """The card with who is said to be responsible."""
    return Written(card.note, card.tags, email, version=card.version)


def said_of(session: Session, domain_ids: Sequence[int]) -> dict[int, str]:
    """Who an import said is responsible for each of these domains, where no member has that address."""
    where = (ImportedPerson.domain_id.in_(domain_ids), ImportedPerson.deleted_at.is_(None))
    return dict(session.execute(sa.select(ImportedPerson.domain_id, ImportedPerson.email).where(*where)).all())


def watches_of(session: Session, reach: Reach) -> Iterator[Any]:
    """Name, port, upgrade protocol, fixed address and beginning of each watch, by what it watches."""
    return _streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, Watch.since_at)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(*_key(session)),
    )


def soonest(session: Session, reach: Reach) -> Iterator[Any]:
    """Name, port, upgrade protocol, fixed address, state, end and sentence of each watch, worst first, then what ends first."""
    return _streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, Watch.state, Watch.ends_at, Watch.sentence)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(Watch.rank, Watch.ends_at, *_key(session)),
    )


def standing_of(session: Session, reach: Reach) -> Iterator[Any]:
    """As `soonest`, by what it watches."""
    return _streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, Watch.state, Watch.ends_at, Watch.sentence)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(*_key(session)),
    )


def served_digests(session: Session, reach: Reach) -> list[str]:
    """The digests of all certificates in chains that the account's watches see served now, sorted."""
    rows = _streamed(session,
        sa.select(Observation.chain)
        .join(Current, Current.observation_id == Observation.id)
        .join(Watch, Watch.endpoint_id == Current.endpoint_id)
        .where(
            Watch.account_id == reach.account_id, reach.there(Watch), Current.gone_at.is_(None), Current.last_seen_at >= Watch.since_at,
        ),
    )  # fmt: skip
    return sorted({digest for (chain,) in rows for digest in chain})


def observations_of(session: Session, reach: Reach) -> Iterator[Any]:
    """What the account's watches saw, raw as the driver gives it: instants and JSON are not read here, for there may be a million.

    A row: watch's key (4), since_at; perspective, address, key_asked, seen_at, content; failure (3), TLS (4), chain, staple, SCTs.
    """
    o, plain = Observation, sa.String()
    raw = _Raw(session)
    visible = sa.or_(o.seen_at >= Watch.since_at, Current.last_seen_at >= Watch.since_at)
    wanted = (
        sa.true()
        if reach.since is None
        else sa.or_(o.seen_at >= reach.since, Current.gone_at.is_(None) & Current.observation_id.is_not(None))
    )
    return _streamed(session,
        sa.select(
            Watch.name, Watch.port, Watch.starttls, Watch.address, raw.at(Watch.since_at),
            o.perspective, sa.type_coerce(o.address, plain).label("seen_address"), o.key_asked, raw.at(o.seen_at), o.content_sha256,
            o.failure_kind, o.failure_stage, o.failure_message, o.tls_version, o.tls_cipher, o.tls_group, o.tls_alpn,
            raw.json(o.chain), o.ocsp_staple, o.scts,
        )
        .join(o, o.endpoint_id == Watch.endpoint_id)
        .outerjoin(Current, Current.observation_id == o.id)
        .where(Watch.account_id == reach.account_id, reach.there(Watch), visible, wanted)
        .order_by(
            *_key(session), _ordered(session, o.perspective), _ordered(session, o.address), o.seen_at, _ordered(session, o.content_sha256),
        ),
    )  # fmt: skip


def _streamed(session: Session, query: sa.Select[*tuple[Any, ...]]) -> Iterator[Any]:
    """Rows of columns, some at a time. Past the ORM's own loading, which would look at each of them once more."""
    return iter(session.connection().execute(query, execution_options=_STREAM))


class _Raw:
    """Columns as the driver gives them."""

    def __init__(self, session: Session) -> None:
        self.postgresql = postgresql(session)

    def at(self, column: Any) -> Any:
        """Text on SQLite, a datetime on PostgreSQL."""
        return sa.type_coerce(column, sa.types.NullType())

    def json(self, column: Any) -> Any:
        """Text on both."""
        return sa.cast(column, sa.Text) if self.postgresql else sa.type_coerce(column, sa.types.NullType())


def imported_observations_of(session: Session, reach: Reach) -> Iterator[Any]:
    """The key that lines are sorted by (8 of it) and the line, of what was imported for watches in reach."""
    i = ImportedObservation
    wanted = sa.true() if reach.since is None else i.seen_at >= reach.since
    return _streamed(session,
        sa.select(i.name, i.port, i.starttls, i.fixed, i.perspective, i.address, i.seen_at, i.content_sha256, i.line)
        .where(i.account_id == reach.account_id, i.deleted_at.is_(None), wanted, _watched(i, reach))
        .order_by(
            _ordered(session, i.name), i.port, _ordered(session, i.starttls), _ordered(session, i.fixed), _ordered(session, i.perspective),
            _ordered(session, i.address), i.seen_at, _ordered(session, i.content_sha256), _ordered(session, i.line),
        ),
    )  # fmt: skip


def incidents_of(session: Session, reach: Reach) -> Iterator[Any]:
    """The incidents of the account's watches in reach, sorted by when they began last of all."""
    n = Incident
    wanted = sa.true() if reach.since is None else sa.or_(n.opened_at >= reach.since, n.closed_at.is_(None))
    return _streamed(session,
        sa.select(
            Watch.name, Watch.port, Watch.starttls, Watch.address, n.opened_at, n.check, n.certificate, n.severity, n.message, n.closed_at,
            n.removed, n.cleared_at,
        )
        .join(Watch, Watch.id == n.watch_id)
        .where(n.account_id == reach.account_id, reach.there(Watch), wanted)
        .order_by(*_key(session), n.opened_at, _ordered(session, n.check), _ordered(session, n.certificate), n.id),
    )  # fmt: skip


def imported_incidents_of(session: Session, reach: Reach) -> Iterator[Any]:
    """The key that lines are sorted by (6 of it) and the line."""
    i = ImportedIncident
    wanted = sa.true() if reach.since is None else i.opened_at >= reach.since
    return _streamed(session,
        sa.select(i.name, i.port, i.starttls, i.fixed, i.opened_at, i.check, i.line)
        .where(i.account_id == reach.account_id, i.deleted_at.is_(None), wanted, _watched(i, reach))
        .order_by(
            _ordered(session, i.name), i.port, _ordered(session, i.starttls), _ordered(session, i.fixed), i.opened_at,
            _ordered(session, i.check), _ordered(session, i.line),
        ),
    )  # fmt: skip


def imported_chains_of(session: Session, account_id: int) -> Iterator[tuple[str, list[str]]]:
    """Chains that the account brought."""
    where = (ImportedChain.account_id == account_id, ImportedChain.deleted_at.is_(None))
    rows = _streamed(session, sa.select(ImportedChain.chain, ImportedChain.certificates).where(*where))
    return ((chain, certificates) for chain, certificates in rows)


def counted(session: Session, reach: Reach) -> int:
    """About how many rows an export will read: what its progress is measured by."""
    watches = sa.select(Watch.endpoint_id).where(Watch.account_id == reach.account_id, reach.there(Watch))
    names = session.scalar(sa.select(sa.func.count()).select_from(watches.subquery())) or 0
    if not reach.history:
        return names
    return names + (session.scalar(sa.select(sa.func.count()).select_from(Observation).where(Observation.endpoint_id.in_(watches))) or 0)


def _watched(i: type[ImportedObservation | ImportedIncident], reach: Reach) -> sa.ColumnElement[bool]:
    """Whether the account watches in reach what an imported line is about."""
    same = (Watch.name == i.name, Watch.port == i.port, Watch.starttls == i.starttls, Watch.address == i.fixed)
    return sa.exists().where(Watch.account_id == i.account_id, reach.there(Watch), *same)


def _key(session: Session) -> tuple[Any, ...]:
    return _ordered(session, Watch.name), Watch.port, _ordered(session, Watch.starttls), _ordered(session, Watch.address)


def _ordered(session: Session, column: Any) -> Any:
    """The column as it is sorted by code points: PostgreSQL's own order is a language's."""
    return sa.collate(column, "C") if postgresql(session) else column
