"""What goes into an account's export, in the order in which it is written: by code points, whatever the database's own order is.

Everything is asked in one transaction, some rows at a time. `Reach` says what is in reach: what is live, and for an account in the bin what
went there with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.store.account_rules import AccountRules
from core.store.accounts import Account, Membership, User
from core.store.base import Base
from core.store.cards import Card, Written, tags_on
from core.store.db import CHUNK
from core.store.endpoints import Domain
from core.store.exports import ExportPlan
from core.store.imports import ImportedChain, ImportedIncident, ImportedObservation, ImportedPerson
from core.store.incidents import Incident
from core.store.observations import Current, Observation
from core.store.raw import instant_text, ordered, streamed
from core.store.watches import Watch


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


class DomainRow(NamedTuple):
    """A domain and what stands on its card; `created_at` is text. `responsible` may be somebody of whom an import said so."""

    name: str
    kind: str
    created_at: str
    note: str
    tags: Sequence[str]
    responsible: str


def domains_of(session: Session, reach: Reach) -> Iterator[DomainRow]:
    """Each domain with its card, by name."""
    rows = streamed(
        session,
        sa.select(
            Domain.id,
            Domain.name,
            Domain.kind,
            instant_text(session, Domain.created_at),
            Card.note,
            sa.case((User.deleted_at.is_(None), User.email)),
        )
        .outerjoin(Card, Card.domain_id == Domain.id)
        .outerjoin(User, User.id == Card.responsible_id)
        .where(Domain.account_id == reach.account_id, reach.there(Domain))
        .order_by(ordered(session, Domain.name), Domain.id),
    )
    while some := list(islice(rows, CHUNK)):
        ids = [row[0] for row in some]
        tags, said = tags_on(session, ids), said_of(session, ids)
        for domain_id, name, kind, created_at, note, email in some:
            yield DomainRow(name, kind, created_at, note or "", sorted(tags.get(domain_id, ())), email or said.get(domain_id, ""))


def said_to(card: Written, email: str) -> Written:
    """The card with who is said to be responsible."""
    return Written(card.note, card.tags, email, version=card.version)


def said_of(session: Session, domain_ids: Sequence[int]) -> dict[int, str]:
    """Who an import said is responsible for each of these domains, where no member has that address."""
    where = (ImportedPerson.domain_id.in_(domain_ids), ImportedPerson.deleted_at.is_(None))
    return dict(session.execute(sa.select(ImportedPerson.domain_id, ImportedPerson.email).where(*where)).all())


def watches_of(session: Session, reach: Reach) -> Iterator[Any]:
    """Name, port, upgrade protocol, fixed address and beginning (as text) of each watch, by what it watches."""
    return streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, instant_text(session, Watch.since_at))
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(*by_key(session)),
    )


def soonest(session: Session, reach: Reach) -> Iterator[Any]:
    """Name, port, upgrade protocol, fixed address, state, end and sentence of each watch, worst first, then what ends first."""
    return streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, Watch.state, Watch.ends_at, Watch.sentence)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(Watch.rank, Watch.ends_at, *by_key(session)),
    )


def standing_of(session: Session, reach: Reach) -> Iterator[Any]:
    """As `soonest`, by what it watches."""
    return streamed(
        session,
        sa.select(Watch.name, Watch.port, Watch.starttls, Watch.address, Watch.state, Watch.ends_at, Watch.sentence)
        .where(Watch.account_id == reach.account_id, reach.there(Watch))
        .order_by(*by_key(session)),
    )


def served_digests(session: Session, reach: Reach) -> list[str]:
    """The digests of all certificates in chains that the account's watches see served now, sorted."""
    rows = streamed(session,
        sa.select(Observation.chain)
        .join(Current, Current.observation_id == Observation.id)
        .join(Watch, Watch.endpoint_id == Current.endpoint_id)
        .where(
            Watch.account_id == reach.account_id, reach.there(Watch), Current.gone_at.is_(None), Current.last_seen_at >= Watch.since_at,
        ),
    )  # fmt: skip
    return sorted({digest for (chain,) in rows for digest in chain})


def incidents_of(session: Session, reach: Reach) -> Iterator[Any]:
    """The incidents of the account's watches in reach, sorted by when they began last of all; instants are text."""
    n = Incident
    wanted = sa.true() if reach.since is None else sa.or_(n.opened_at >= reach.since, n.closed_at.is_(None))
    return streamed(session,
        sa.select(
            Watch.name, Watch.port, Watch.starttls, Watch.address, instant_text(session, n.opened_at), n.check, n.certificate, n.severity,
            n.message, instant_text(session, n.closed_at), n.removed, instant_text(session, n.cleared_at),
        )
        .join(Watch, Watch.id == n.watch_id)
        .where(n.account_id == reach.account_id, reach.there(Watch), wanted)
        .order_by(*by_key(session), n.opened_at, ordered(session, n.check), ordered(session, n.certificate), n.id),
    )  # fmt: skip


def imported_incidents_of(session: Session, reach: Reach) -> Iterator[Any]:
    """The key that lines are sorted by (6 of it) and the line."""
    i = ImportedIncident
    wanted = sa.true() if reach.since is None else i.opened_at >= reach.since
    return streamed(session,
        sa.select(i.name, i.port, i.starttls, i.fixed, instant_text(session, i.opened_at), i.check, i.line)
        .where(i.account_id == reach.account_id, i.deleted_at.is_(None), wanted, still_watched(i, reach))
        .order_by(
            ordered(session, i.name), i.port, ordered(session, i.starttls), ordered(session, i.fixed), i.opened_at,
            ordered(session, i.check), ordered(session, i.line),
        ),
    )  # fmt: skip


def imported_chains_of(session: Session, account_id: int) -> Iterator[tuple[str, list[str]]]:
    """Chains that the account brought."""
    where = (ImportedChain.account_id == account_id, ImportedChain.deleted_at.is_(None))
    rows = streamed(session, sa.select(ImportedChain.chain, ImportedChain.certificates).where(*where))
    return ((chain, certificates) for chain, certificates in rows)


def counted(session: Session, reach: Reach) -> int:
    """About how many rows an export will read: what its progress is measured by."""
    watches = sa.select(Watch.endpoint_id).where(Watch.account_id == reach.account_id, reach.there(Watch))
    names = session.scalar(sa.select(sa.func.count()).select_from(watches.subquery())) or 0
    if not reach.history:
        return names
    return names + (session.scalar(sa.select(sa.func.count()).select_from(Observation).where(Observation.endpoint_id.in_(watches))) or 0)


def still_watched(i: type[ImportedObservation | ImportedIncident], reach: Reach) -> sa.ColumnElement[bool]:
    """Whether the account watches in reach what an imported line is about."""
    same = (Watch.name == i.name, Watch.port == i.port, Watch.starttls == i.starttls, Watch.address == i.fixed)
    return sa.exists().where(Watch.account_id == i.account_id, reach.there(Watch), *same)


def by_key(session: Session) -> tuple[Any, ...]:
    """What watches are sorted by."""
    return ordered(session, Watch.name), Watch.port, ordered(session, Watch.starttls), ordered(session, Watch.address)
