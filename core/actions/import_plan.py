"""What an import would do, name by name, and why: asked for a preview, and asked again when it is done.

Nothing here changes anything. What a file says is believed as far as somebody might have typed it, and no further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.actions.budget import over_budget
from core.actions.policy import Refused
from core.actions.tags import MOST_TAGS, MOST_WORDS, read_note, read_tags
from core.exports.content import Content
from core.exports.foreign import Wanted
from core.net.names import Listed
from core.store.cards import BLANK, Written, tags_counted, written_on
from core.store.db import chunks
from core.store.endpoints import Domain
from core.store.exported import said_of, said_to
from core.store.watches import binned_by_target, live_by_target

Outcome = Literal["added", "changed", "skipped", "refused"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("added", "changed", "skipped", "refused")
_MANY: Final = 2_000
"""More names than that are looked for in one pass over the account's."""
_HERE: Final = "It is watched here already, and everything else is as in the file."


@dataclass(frozen=True, slots=True)
class Choices:
    """What of a file is taken. `theirs`: where note or responsible person differ, the file's; `leave`: names that are left out.

    `factor`: ask members for a second factor, as the file says; `trusted`: its person takes it though nobody vouches for it.
    """

    names: bool = True
    cards: bool = True
    history: bool = True
    settings: bool = True
    factor: bool = False
    theirs: bool = False
    trusted: bool = False
    leave: frozenset[str] = frozenset()

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Choices:
        """As `kept` was made."""
        flags = {each.name: bool(kept[each.name]) for each in fields(cls) if each.name in kept and each.name != "leave"}
        return cls(**flags, leave=frozenset(map(str, kept.get("leave", ()))))

    @property
    def kept(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self) | {"leave": sorted(self.leave)}


@dataclass(frozen=True, slots=True)
class CardChange:
    """A card as it is, and as it is to be. `responsible` is an address."""

    was: Written
    note: str
    tags: frozenset[str]
    responsible: str

    @property
    def changes(self) -> bool:
        """Whether anything is to be written."""
        return (self.note, self.tags, self.responsible) != (self.was.note, frozenset(self.was.tags), self.was.responsible)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a preview: what becomes of a name, and why. `listed` is None for a line that is no name."""

    outcome: Outcome
    name: str
    why: str
    listed: Listed | None = None


@dataclass(slots=True)
class Plan:
    """`wanted`: names to be added or brought back; `cards`: what each name's card is to say; `kinds`: of those that are no exact names."""

    items: list[Item] = field(default_factory=list)
    wanted: list[Listed] = field(default_factory=list)
    taken: set[Listed] = field(default_factory=set)
    cards: dict[str, CardChange] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many names by outcome."""
        counted = Counter(item.outcome for item in self.items)
        return {outcome: counted[outcome] for outcome in OUTCOMES}


def shown(listed: Listed) -> str:
    """A name as previews and choices write it."""
    return f"{listed.name}:{listed.port}{f' {listed.how}' if listed.how else ''}"


def plan(session: Session, account_id: int, content: Content, choices: Choices, now: datetime) -> Plan:
    """What would become of each name."""
    made = Plan()
    for line in content.unread:
        made.items.append(Item("refused", line.text or f"line {line.number:,}", f"Line {line.number:,}: {line.why}"))
    known = _Known(session, account_id, content.wanted, now)
    for wanted in content.wanted:
        made.items.append(_item(made, known, wanted, choices))
    return made


def _item(made: Plan, known: _Known, wanted: Wanted, choices: Choices) -> Item:
    listed, name = wanted.listed, shown(wanted.listed)
    if name in choices.leave:
        return Item("skipped", name, "You left it out.", listed)
    here = listed.key in known.live
    if not here and not choices.names:
        return Item("skipped", name, "It is not watched here, and no names are added by your choice.", listed)
    if not here and listed in known.refused:
        return Item("refused", name, known.refused[listed], listed)
    made.taken.add(listed)
    if not here:
        made.wanted.append(listed)
        if wanted.kind != "exact":
            made.kinds[listed.name] = wanted.kind
    why: list[str] = []
    change = _card(made, known, wanted, choices, why) if choices.cards else None
    if not here:
        first = "It comes back from the bin with its history." if listed.key in known.binned else "It is new here."
        return Item("added", name, " ".join((first, *why)), listed)
    if change is not None and change.changes:
        return Item("changed", name, " ".join(why), listed)
    return Item("skipped", name, " ".join(why) or _HERE, listed)


def _card(made: Plan, known: _Known, wanted: Wanted, choices: Choices, why: list[str]) -> CardChange:
    """What is to stand on the card. Two lines about one name put together what they say."""
    name = wanted.listed.name
    before = made.cards.get(name)
    was = before.was if before else known.cards.get(name, BLANK)
    now = before or CardChange(was, was.note, frozenset(was.tags), was.responsible)
    note = _note(wanted, now.note, choices, why)
    tags = _tags(known, wanted, now.tags, why)
    responsible = _responsible(wanted, now.responsible, choices, why)
    made.cards[name] = CardChange(was, note, tags, responsible)
    return made.cards[name]


def _note(wanted: Wanted, note: str, choices: Choices, why: list[str]) -> str:
    try:
        theirs = read_note(wanted.note)
    except Refused as error:
        why.append(f"Its note is left out: {error}")
        return note
    if not theirs or theirs == note:
        return note
    if note and not choices.theirs:
        why.append("Its note differs, and the one here stays.")
        return note
    why.append("Its note replaces the one here." if note else "Its note comes along.")
    return theirs


def _tags(known: _Known, wanted: Wanted, tags: frozenset[str], why: list[str]) -> frozenset[str]:
    added: list[str] = []
    for word in wanted.tags:
        try:
            added += read_tags(word)
        except Refused:
            why.append("One of its tags is none that can be used here, and is left out.")
    fresh = [word for word in dict.fromkeys(added) if word not in tags]
    room = max(0, MOST_TAGS - len(tags))
    if len(fresh) > room:
        why.append(f"{len(fresh) - room} of its tags are left out: a name has {MOST_TAGS} at most.")
    kept = [word for word in fresh[:room] if known.has_room_for(word)]
    if len(kept) < len(fresh[:room]):
        why.append(f"Some of its tags are left out: an account has {MOST_WORDS} different ones at most.")
    if kept:
        why.append(f"Tags: {', '.join(kept)}.")
    return tags | frozenset(kept)


def _responsible(wanted: Wanted, responsible: str, choices: Choices, why: list[str]) -> str:
    theirs = wanted.responsible.strip().lower()
    if not theirs or theirs == responsible or "@" not in theirs:
        return responsible
    if responsible and not choices.theirs:
        why.append("Somebody else is responsible for it here, and stays so.")
        return responsible
    why.append(f"Responsible: {theirs}.")
    return theirs


class _Known:
    """What stands here of the names in a file."""

    def __init__(self, session: Session, account_id: int, wanted: Sequence[Wanted], now: datetime) -> None:
        keys = {each.listed.key for each in wanted}
        self.live = live_by_target(session, account_id, keys).keys()
        self.binned = binned_by_target(session, account_id, keys - self.live).keys()
        self.refused = over_budget(session, account_id, sorted({each.listed for each in wanted}, key=lambda each: each.key), now)
        self.cards = cards_by_name(session, account_id, {each.listed.name for each in wanted})
        self._words = {word for word, _ in tags_counted(session, account_id)}

    def has_room_for(self, word: str) -> bool:
        """Whether the account may use this tag; from now on it does."""
        if word not in self._words and len(self._words) >= MOST_WORDS:
            return False
        self._words.add(word)
        return True


def cards_by_name(session: Session, account_id: int, names: Iterable[str]) -> dict[str, Written]:
    """What stands on the card of each of these names; of one in the bin, what comes back with it."""
    return {name: card for name, (_, card) in domains_by_name(session, account_id, names).items()}


def domains_by_name(session: Session, account_id: int, names: Iterable[str]) -> dict[str, tuple[int, Written]]:
    """The domain of each of these names, and its card. Who is said to be responsible, and is no member, counts too."""
    ids = _ids_by_name(session, account_id, sorted(names))
    found: dict[str, tuple[int, Written]] = {}
    for some in chunks(list(ids.items())):
        cards, said = written_on(session, [domain_id for _, domain_id in some]), said_of(session, [domain_id for _, domain_id in some])
        for name, domain_id in some:
            card = cards[domain_id]
            found[name] = (domain_id, card if card.responsible or domain_id not in said else said_to(card, said[domain_id]))
    return found


def _ids_by_name(session: Session, account_id: int, names: Sequence[str]) -> dict[str, int]:
    """The domain of each name, a live one where there is one. Many are found in one pass over all that the account has.

    In the middle of an import a server does not know yet how many these are by now: it would pass over them once for each question.
    """
    columns = sa.select(Domain.name, Domain.id).where(Domain.account_id == account_id)
    ordered = columns.order_by(Domain.deleted_at.is_(None), Domain.id)
    if len(names) > _MANY:
        wanted = set(names)
        return {name: domain_id for name, domain_id in session.execute(ordered) if name in wanted}
    return {name: domain_id for some in chunks(names) for name, domain_id in session.execute(ordered.where(Domain.name.in_(some)))}
