"""What an import writes on cards, and how that is taken back: many at once, each as it was where nobody wrote on it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.cards import move_tags
from core.actions.import_plan import CardChange
from core.store.accounts import members_of
from core.store.cards import Card, tags_on
from core.store.db import CHUNK, chunks, upsert
from core.store.imports import ImportChange, ImportedPerson

CARDS: Final = "cards"


def write_cards(
    session: Session, account_id: int, import_id: int, changes: Mapping[int, CardChange], *, by: int | None, now: datetime
) -> None:  # fmt: skip
    """Write what is to stand on these domains' cards, and keep how they were. The caller holds the account.

    Who is responsible and no member is kept by address: they are it once they belong to the account.
    """
    members = {each.email: each.user_id for each in members_of(session, [account_id])}
    ids = sorted(changes)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        before = {row.domain_id: row for row in session.scalars(sa.select(Card).where(Card.domain_id.in_(chunk)))}
        kept: list[list[Any]] = []
        rows: list[dict[str, Any]] = []
        people: list[tuple[int, str]] = []
        for domain_id in chunk:
            change, card = changes[domain_id], before.get(domain_id)
            user_id = members.get(change.responsible)
            moved = change.responsible != change.was.responsible
            had = card.responsible_id if card else None
            if moved and user_id is None:
                people.append((domain_id, change.responsible))
            row = {
                "domain_id": domain_id, "account_id": account_id, "note": change.note, "responsible_id": user_id if moved else had,
                "version": (card.version if card else 0) + 1, "changed_at": now, "changed_by": by,
            }  # fmt: skip
            rows.append(row)
            kept.append([domain_id, card.note if card else "", had, sorted(change.tags - frozenset(change.was.tags)), row["version"]])
        put_cards(session, rows)
        _let_go(session, [domain_id for domain_id, _ in people], now)
        own = {"account_id": account_id, "import_id": import_id, "deleted_at": None}
        if people:
            session.execute(sa.insert(ImportedPerson), [own | {"domain_id": domain_id, "email": email} for domain_id, email in people])
        session.add(ImportChange(import_id=import_id, what=CARDS, before=kept, after=[]))
    move_tags(session, account_id, [(each, change.tags, frozenset(change.was.tags)) for each, change in sorted(changes.items())], now)
    session.flush()


def put_cards(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Cards as these rows say."""
    if rows:
        insert = upsert(session, Card)
        values = {name: insert.excluded[name] for name in ("note", "responsible_id", "version", "changed_at", "changed_by")}
        session.execute(insert.on_conflict_do_update(index_elements=["domain_id"], set_=values), list(rows))


def _let_go(session: Session, domain_ids: Sequence[int], now: datetime) -> None:
    """Nobody is said to be responsible for these any more."""
    there = (ImportedPerson.domain_id.in_(domain_ids), ImportedPerson.deleted_at.is_(None))
    session.execute(sa.update(ImportedPerson).where(*there).values(deleted_at=now).execution_options(synchronize_session=False))


def take_back(session: Session, account_id: int, kept: Sequence[Sequence[Any]], *, by: int | None, now: datetime) -> list[int]:
    """Make cards what they were before an import. Whose they are: the others stay, since somebody wrote on them meanwhile."""
    ids = [each[0] for each in kept]
    cards = {row.domain_id: row for row in session.scalars(sa.select(Card).where(Card.domain_id.in_(ids), Card.account_id == account_id))}
    tags = tags_on(session, ids)
    rows, moves = [], []
    for domain_id, note, responsible_id, added, version in kept:
        card = cards.get(domain_id)
        if card is None or card.version != version:
            continue
        rows.append({
            "domain_id": domain_id, "account_id": account_id, "note": note, "responsible_id": responsible_id, "version": version + 1,
            "changed_at": now, "changed_by": by,
        })  # fmt: skip
        had = frozenset(tags.get(domain_id, ()))
        moves.append((domain_id, had - frozenset(added), had))
    session.expire_all()
    put_cards(session, rows)
    move_tags(session, account_id, moves, now)
    return [row["domain_id"] for row in rows]


def say_again(session: Session, domain_ids: Sequence[int], account_id: int, *, let_go_at: datetime) -> None:
    """Who an earlier import said is responsible for these, and was let go by the one that is taken back, is said to be so again."""
    for some in chunks(domain_ids):
        theirs = (ImportedPerson.domain_id.in_(some), ImportedPerson.account_id == account_id, ImportedPerson.deleted_at == let_go_at)
        again = sa.update(ImportedPerson).where(*theirs).values(deleted_at=None)
        session.execute(again.execution_options(synchronize_session=False))


def become_responsible(session: Session, account_id: int, user_id: int, email: str, now: datetime) -> int:
    """Somebody joins an account: they become responsible for what an import said they were. For how many names."""
    mine = (ImportedPerson.account_id == account_id, ImportedPerson.email == email, ImportedPerson.deleted_at.is_(None))
    ids = sorted(session.scalars(sa.select(ImportedPerson.domain_id).where(*mine)))
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        nobody = (Card.domain_id.in_(chunk), Card.responsible_id.is_(None))
        theirs = sa.update(Card).where(*nobody).values(responsible_id=user_id, changed_at=now)
        session.execute(theirs.execution_options(synchronize_session=False))
        _let_go(session, chunk, now)
    return len(ids)
