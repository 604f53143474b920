"""Cards: what an account writes on its own domains. A note, tags, and one member who is responsible.

They hang on the account's domain, never on the endpoint that accounts share: nobody else sees them, two watches of one name have them in
common, and they come back from the bin with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from core.store.accounts import Membership, User
from core.store.base import Base, Id, live_index
from core.store.db import CHUNK
from core.store.endpoints import Domain

MINE, LEFT, NOBODY = "mine", "left", "nobody"
"""What a list may be asked for beside a person: one's own names, orphans, and names with nobody."""
MOST_WORD: Final = 32


class Card(Base):
    """One for each domain that was ever written on. `version` counts what was written, so that two people do not undo each other."""

    __tablename__ = "domain_cards"
    domain_id: Mapped[int] = mapped_column(sa.ForeignKey("domains.id"), primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    note: Mapped[str] = mapped_column(default="")
    responsible_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    version: Mapped[int] = mapped_column(default=0)
    changed_at: Mapped[datetime]
    changed_by: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    __table_args__ = (sa.Index("ix_domain_cards_responsible", "account_id", "responsible_id"),)


class Tag(Base):
    """A word of an account's own. `names` counts the domains outside the bin that bear it; kept on write."""

    __tablename__ = "tags"
    id: Mapped[Id]
    account_id: Mapped[int] = mapped_column(sa.ForeignKey("accounts.id"))
    word: Mapped[str] = mapped_column(sa.String(MOST_WORD))
    names: Mapped[int] = mapped_column(default=0)
    __table_args__ = (sa.UniqueConstraint("account_id", "word", name="uq_tags_word"),)


class DomainTag(Base):
    """A domain bears a tag; `deleted_at`: it was taken away."""

    __tablename__ = "domain_tags"
    domain_id: Mapped[int] = mapped_column(sa.ForeignKey("domains.id"), primary_key=True, autoincrement=False)
    tag_id: Mapped[int] = mapped_column(sa.ForeignKey("tags.id"), primary_key=True, autoincrement=False)
    deleted_at: Mapped[datetime | None]
    __table_args__ = (live_index("ix_domain_tags_tag", "tag_id", "domain_id"),)


@dataclass(frozen=True, slots=True)
class Written:
    """What stands on a domain's card. `responsible` is an address, "" for nobody and for who is gone; `left`: they left the account.

    `by` wrote it last, "" when they are gone.
    """

    note: str = ""
    tags: tuple[str, ...] = ()
    responsible: str = ""
    responsible_ref: str = ""
    left: bool = False
    version: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """A person who is responsible for so many names. `left`: they left the account, and the names are orphans."""

    ref: str
    left: bool
    names: int


BLANK: Final = Written()


def written_on(session: Session, domain_ids: Iterable[int]) -> dict[int, Written]:
    """What stands on the card of each of these domains of one account, in two questions for each 500 of them."""
    wanted = sorted(set(domain_ids))
    found = dict.fromkeys(wanted, BLANK)
    for start in range(0, len(wanted), CHUNK):
        found |= _written_chunk(session, wanted[start : start + CHUNK])
    return found


def _written_chunk(session: Session, domain_ids: list[int]) -> dict[int, Written]:
    writer = aliased(User)
    live, wrote = User.deleted_at.is_(None), writer.deleted_at.is_(None)
    words = tags_on(session, domain_ids)
    rows = session.execute(
        sa.select(
            Card.domain_id, Card.note, sa.case((live, User.email)), User.ref, is_member(Card.account_id, Card.responsible_id),
            Card.version, sa.case((wrote, writer.email)),
        )
        .outerjoin(User, User.id == Card.responsible_id)
        .outerjoin(writer, writer.id == Card.changed_by)
        .where(Card.domain_id.in_(domain_ids))
    )  # fmt: skip
    return {
        domain_id: Written(note, words.get(domain_id, ()), email or "", ref or "", ref is not None and not there, version, by or "")
        for domain_id, note, email, ref, there, version, by in rows
    }


def tags_on(session: Session, domain_ids: Collection[int]) -> dict[int, tuple[str, ...]]:
    """The tags of each of these domains that has any, by the alphabet."""
    rows = session.execute(
        sa.select(DomainTag.domain_id, Tag.word)
        .join(Tag, Tag.id == DomainTag.tag_id)
        .where(DomainTag.domain_id.in_(domain_ids), DomainTag.deleted_at.is_(None))
    )
    found: dict[int, tuple[str, ...]] = {}
    for domain_id, word in sorted(rows, key=lambda row: str(row[1])):
        found[domain_id] = (*found.get(domain_id, ()), word)
    return found


def tags_counted(session: Session, account_id: int) -> tuple[tuple[str, int], ...]:
    """The account's tags that stand somewhere, by the alphabet, each with how many names bear it. No row of the list is touched."""
    rows = session.execute(sa.select(Tag.word, Tag.names).where(Tag.account_id == account_id, Tag.names > 0))
    return tuple(sorted((word, names) for word, names in rows))


def holders(session: Session, account_id: int) -> tuple[Holder, ...]:
    """Everybody who is responsible for names outside the bin."""
    rows = session.execute(
        sa.select(User.ref, sa.not_(is_member(sa.literal(account_id), User.id)), sa.func.count())
        .select_from(Card)
        .join(User, User.id == Card.responsible_id)
        .join(Domain, Domain.id == Card.domain_id)
        .where(Card.account_id == account_id, Domain.deleted_at.is_(None))
        .group_by(User.id, User.ref)
    )
    return tuple(Holder(ref, bool(left), names) for ref, left, names in rows)


def orphans(session: Session, account_id: int) -> int:
    """How many names outside the bin have lost their responsible person. Asked by the few who left: the other names are not looked at."""
    gone = sa.select(Membership.user_id).where(Membership.account_id == account_id)
    rows = (Card.account_id == account_id, Card.responsible_id.in_(gone), sa.not_(is_member(Card.account_id, Card.responsible_id)))
    query = sa.select(sa.func.count()).select_from(Card).join(Domain, Domain.id == Card.domain_id).where(*rows, Domain.deleted_at.is_(None))
    return session.scalar(query) or 0


def held_by(domain_id: Any, account_id: int, who: str, reader_id: int | None) -> sa.ColumnElement[bool]:
    """Whether this domain of the account is one of MINE, LEFT or NOBODY, or else the person's with this reference."""
    held = sa.select(Card.domain_id).where(Card.account_id == account_id, Card.responsible_id.is_not(None))
    if who == LEFT:
        held = held.where(sa.not_(is_member(Card.account_id, Card.responsible_id)))
    elif who == MINE:
        held = held.where(Card.responsible_id == reader_id)
    elif who != NOBODY:
        held = held.where(Card.responsible_id.in_(sa.select(User.id).where(User.ref == who)))
    found: sa.ColumnElement[bool] = domain_id.not_in(held) if who == NOBODY else domain_id.in_(held)
    return found


def bears(domain_id: Any, account_id: int, word: str) -> sa.ColumnElement[bool]:
    """Whether this domain of the account bears this tag."""
    own = (Tag.account_id == account_id, Tag.word == word, DomainTag.deleted_at.is_(None))
    found: sa.ColumnElement[bool] = domain_id.in_(sa.select(DomainTag.domain_id).join(Tag, Tag.id == DomainTag.tag_id).where(*own))
    return found


def is_member(account_id: sa.ColumnElement[int] | Mapped[int], user_id: object) -> sa.ColumnElement[bool]:
    """Whether this person belongs to this account now, and is there at all."""
    there, person = aliased(Membership), aliased(User)
    return (
        sa.select(there.id)
        .join(person, person.id == there.user_id)
        .where(there.account_id == account_id, there.user_id == user_id, there.deleted_at.is_(None), person.deleted_at.is_(None))
        .exists()
    )


def recount_tags(session: Session, domain_ids: Collection[int]) -> None:
    """Count anew the tags of domains that went into the bin or came back. The caller holds the account."""
    ids, tag_ids = sorted(domain_ids), set[int]()
    for start in range(0, len(ids), CHUNK):
        borne = sa.select(DomainTag.tag_id).where(DomainTag.domain_id.in_(ids[start : start + CHUNK]), DomainTag.deleted_at.is_(None))
        tag_ids |= set(session.scalars(borne.distinct()))
    count_tags(session, sorted(tag_ids))


def count_tags(session: Session, tag_ids: Collection[int]) -> None:
    """Count these tags anew."""
    if not tag_ids:
        return
    live = (DomainTag.tag_id == Tag.id, DomainTag.deleted_at.is_(None), Domain.deleted_at.is_(None))
    count = sa.select(sa.func.count()).select_from(DomainTag).join(Domain, Domain.id == DomainTag.domain_id).where(*live)
    names = count.correlate(Tag).scalar_subquery()
    session.execute(sa.update(Tag).where(Tag.id.in_(tag_ids)).values(names=names).execution_options(synchronize_session=False))
