"""Writing on an account's domains: note, tags, and who is responsible; one name alone, or many in one act.

Whoever writes holds the account, so that two people do so one after the other; and who wrote on something older than what stands there is
told, with nothing lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from audit.entry import Value
from audit.log import Event, append
from core.actions.letters import tell_by_mail
from core.actions.policy import Actor, Permission, Refused, require, require_person
from core.actions.tags import MOST_TAGS, MOST_WORDS, read_note, read_tags
from core.store.accounts import Account, User, account_names
from core.store.cards import Card, DomainTag, Tag, Written, count_tags, is_member, tags_on, written_on
from core.store.db import CHUNK, insert_missing, upsert
from core.store.watches import own_watches

AT_ONCE: Final = 1_000
"""So many names are edited in one act. Nothing is removed by it, and all of it can be taken back."""
NOBODY: Final = "nobody"
_NAMED: Final = 10
_NO_MEMBER: Final = "Who is to be responsible does not belong to this account any more. Nothing was changed; choose somebody else."
_AGAIN: Final = "Nothing was changed. Load the list again, and tick the names anew."


class ChangedMeanwhile(Refused):
    """Somebody else wrote on the name since the form was opened. `now`: what stands there."""

    def __init__(self, now: Written) -> None:
        super().__init__(f"{now.by or 'Somebody'} changed this while you were writing.", "version")
        self.now = now


@dataclass(frozen=True, slots=True)
class Typed:
    """A card as somebody typed it. `tags` with commas between; `responsible` a person's reference or ""; `version`: what it began from."""

    note: str
    tags: str
    responsible: str
    version: int


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is to be done to many names. `add` and `take` are tags, `responsible` a person's reference or NOBODY; "" leaves things alone."""

    add: str = ""
    take: str = ""
    responsible: str = ""


@dataclass(frozen=True, slots=True)
class Edited:
    """How many names there were, how many changed, and how many of them in what way. `to`: who is responsible now, "" for nobody."""

    names: int
    changed: int
    tagged: int = 0
    untagged: int = 0
    moved: int = 0
    to: str = ""


@dataclass(slots=True)
class _Sheet:
    """A domain's card as it stands, and beside it what it is to be."""

    domain_id: int
    name: str
    card: Card | None
    had_note: str
    had: int | None
    had_tags: frozenset[str]
    note: str
    responsible: int | None
    tags: frozenset[str]

    @property
    def moved(self) -> bool:
        return self.responsible != self.had

    @property
    def changed(self) -> bool:
        return self.moved or self.tags != self.had_tags or self.note != self.had_note


def edit_card(session: Session, actor: Actor, *, ref: str, typed: Typed, now: datetime) -> bool | None:
    """Whether anything of this watch's domain changed; None where there is no such watch. Raises Refused and ChangedMeanwhile."""
    account_id = require(actor, Permission.EDIT_DOMAINS)
    note, tags = read_note(typed.note), frozenset(read_tags(typed.tags))
    _lock(session, account_id)
    sheets = _sheets(session, account_id, [ref])
    if not sheets:
        return None
    (sheet,) = sheets
    sheet.note, sheet.tags = note, tags
    sheet.responsible = _responsible(session, account_id, typed.responsible, stays=sheet.had)
    if not sheet.changed:
        return False
    if typed.version != (sheet.card.version if sheet.card else 0):
        raise ChangedMeanwhile(written_on(session, [sheet.domain_id])[sheet.domain_id])
    _require_room(session, account_id, sheets, "tags")
    _write(session, actor, account_id, sheets, now)
    append(session, _event(session, actor, sheets, now))
    return True


def edit_domains(session: Session, actor: Actor, *, refs: Sequence[str], bulk: Bulk, now: datetime) -> Edited:
    """Add a tag, take one away and set who is responsible on all of these watches' domains, or on none. Raises Refused."""
    account_id = require(actor, Permission.EDIT_DOMAINS)
    wanted = list(dict.fromkeys(refs))
    if len(wanted) > AT_ONCE:
        raise Refused(f"At most {AT_ONCE:,} names are edited at once. {_AGAIN}")
    add, take = frozenset(read_tags(bulk.add, field="add")), frozenset(read_tags(bulk.take, field="take"))
    if not wanted:
        raise Refused("Nothing was selected, so nothing was changed. Tick the names first.")
    if not (add or take or bulk.responsible):
        raise Refused("Nothing was to be done. Write a tag to add, choose one to take away, or choose who is responsible.")
    if add & take:
        raise Refused("The same tag is to be added and taken away. Nothing was changed; choose one of the two.", "take")
    _lock(session, account_id)
    sheets = _sheets(session, account_id, wanted, all_of_them=True)
    to = _responsible(session, account_id, bulk.responsible.removeprefix(NOBODY)) if bulk.responsible else None
    for sheet in sheets:
        sheet.tags = (sheet.had_tags | add) - take
        sheet.responsible = to if bulk.responsible else sheet.had
    _require_room(session, account_id, sheets, "add")
    changed = [sheet for sheet in sheets if sheet.changed]
    if changed:
        _write(session, actor, account_id, changed, now)
        append(session, _event(session, actor, changed, now))
    return _edited(session, sheets, changed, to)


def _edited(session: Session, sheets: Sequence[_Sheet], changed: Sequence[_Sheet], to: int | None) -> Edited:
    return Edited(
        names=len(sheets),
        changed=len(changed),
        tagged=sum(1 for sheet in changed if sheet.tags - sheet.had_tags),
        untagged=sum(1 for sheet in changed if sheet.had_tags - sheet.tags),
        moved=sum(1 for sheet in changed if sheet.moved),
        to=session.get_one(User, to).email if to is not None else "",
    )


def _lock(session: Session, account_id: int) -> None:
    """As those do who add and remove names: the bin and the counts of tags stand still meanwhile."""
    session.execute(sa.select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))


def _sheets(session: Session, account_id: int, refs: Sequence[str], *, all_of_them: bool = False) -> list[_Sheet]:
    watches = own_watches(session, account_id, refs, binned=False)
    if all_of_them and len(watches) < len(refs):
        raise Refused(f"Not every name that was ticked is still watched. {_AGAIN}")
    names = {watch.domain_id: watch.name for watch in watches}
    ids = sorted(names)
    cards: dict[int, Card] = {}
    tags: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        query = sa.select(Card).where(Card.domain_id.in_(chunk)).execution_options(populate_existing=True)
        cards |= {card.domain_id: card for card in session.scalars(query)}
        tags |= tags_on(session, chunk)
    return [_sheet(domain_id, names[domain_id], cards.get(domain_id), frozenset(tags.get(domain_id, ()))) for domain_id in ids]


def _sheet(domain_id: int, name: str, card: Card | None, tags: frozenset[str]) -> _Sheet:
    note, responsible = (card.note, card.responsible_id) if card else ("", None)
    return _Sheet(domain_id, name, card, note, responsible, tags, note, responsible, tags)


def _responsible(session: Session, account_id: int, ref: str, *, stays: int | None = None) -> int | None:
    """The person with this reference, who is a member, or was responsible before; None for ""."""
    if not ref:
        return None
    allowed = sa.or_(User.id == (stays or 0), is_member(sa.literal(account_id), User.id))
    user_id = session.scalar(sa.select(User.id).where(User.ref == ref, allowed))
    if user_id is None:
        raise Refused(_NO_MEMBER, "responsible")
    return user_id


def _require_room(session: Session, account_id: int, sheets: Sequence[_Sheet], field: str) -> None:
    full = next((sheet for sheet in sheets if len(sheet.tags) > MOST_TAGS and sheet.tags - sheet.had_tags), None)
    if full is not None:
        raise Refused(
            f"{full.name} would have {len(full.tags)} tags, and {MOST_TAGS} fit. Nothing was changed; take one away first.", field
        )
    fresh = {word for sheet in sheets for word in sheet.tags - sheet.had_tags}
    known = set(session.scalars(sa.select(Tag.word).where(Tag.account_id == account_id, Tag.names > 0))) if fresh else set()
    if len(known | fresh) > MOST_WORDS >= len(known):
        raise Refused(f"This account would have more than {MOST_WORDS} different tags. Nothing was changed; use those there are.", field)


def _write(session: Session, actor: Actor, account_id: int, sheets: Sequence[_Sheet], now: datetime) -> None:
    for sheet in sheets:
        card = sheet.card
        if card is None:
            card = Card(domain_id=sheet.domain_id, account_id=account_id, version=0)
            session.add(card)
        card.note, card.responsible_id = sheet.note, sheet.responsible
        card.version, card.changed_at, card.changed_by = card.version + 1, now, actor.user_id
    session.flush()
    _tag(session, account_id, sheets, now)
    _tell(session, actor, account_id, [sheet for sheet in sheets if sheet.moved], now)


def _tag(session: Session, account_id: int, sheets: Sequence[_Sheet], now: datetime) -> None:
    move_tags(session, account_id, [(sheet.domain_id, sheet.tags, sheet.had_tags) for sheet in sheets], now)


def move_tags(session: Session, account_id: int, moves: Sequence[tuple[int, frozenset[str], frozenset[str]]], now: datetime) -> None:
    """Let each domain bear these tags instead of those. The caller holds the account."""
    words = sorted({word for _, tags, had in moves for word in tags ^ had})
    insert_missing(session, Tag, [{"account_id": account_id, "word": word, "names": 0} for word in words])
    ids = dict(session.execute(sa.select(Tag.word, Tag.id).where(Tag.account_id == account_id, Tag.word.in_(words))).all())
    rows = [
        {"domain_id": domain_id, "tag_id": ids[word], "deleted_at": None if word in tags else now}
        for domain_id, tags, had in moves
        for word in sorted(tags ^ had)
    ]
    if rows:
        insert = upsert(session, DomainTag)
        session.execute(
            insert.on_conflict_do_update(index_elements=["domain_id", "tag_id"], set_={"deleted_at": insert.excluded.deleted_at}), rows
        )
    count_tags(session, sorted(ids.values()))


def _tell(session: Session, actor: Actor, account_id: int, moved: Sequence[_Sheet], now: datetime) -> None:
    """Who becomes responsible hears of it once, however many names it are, and nothing that anybody wrote."""
    to = moved[0].responsible if moved else None
    if to is None or to == actor.user_id:
        return
    email, by = session.get_one(User, to).email, session.get_one(User, require_person(actor)).email
    account = account_names(session, [account_id])[account_id]
    names = [sheet.name for sheet in moved]
    what = names[0] if len(names) == 1 else f"{len(names):,} names"
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
    text = f"{by} made you responsible for {listed}. Under Domains, choose “Mine” to see all that are yours."
    tell_by_mail(session, email, f"You are responsible for {what} of {account}", text, account_id=account_id, now=now)


def _event(session: Session, actor: Actor, sheets: Sequence[_Sheet], now: datetime) -> Event:
    added = sorted({word for sheet in sheets for word in sheet.tags - sheet.had_tags})
    taken = sorted({word for sheet in sheets for word in sheet.had_tags - sheet.tags})
    private: dict[str, Value] = {"added": ", ".join(added), "taken": ", ".join(taken)} if added or taken else {}
    if any(sheet.note != sheet.had_note for sheet in sheets):
        private["note"] = True
    if moved := [sheet for sheet in sheets if sheet.moved]:
        to = moved[0].responsible
        private["responsible"] = session.get_one(User, to).ref if to is not None else ""
    return Event("domains.edited.v1", now, actor.name, actor.account_ref, {"names": len(sheets)}, private)
