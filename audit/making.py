"""Entries in their order, each with the time at which it was logged; and what becomes of an event that no entry can be made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit.entry import Entry, make_entry
from audit.kinds import FORGED, OWN
from audit.tables import OutboxEvent
from audit.tiles import MOST_ENTRY_BYTES

Fields = dict[str, Any]
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class New:
    """An entry that is about to be one, and what goes into its private part beside salts and values."""

    entry: Entry
    kind: str
    at: datetime
    actor: str
    account_ref: str


@dataclass(slots=True)
class Clock:
    """Makes entries one after the other. One that comes after the clock was set back tells by how much."""

    before: datetime | None
    now: datetime

    def told(self, event: OutboxEvent) -> New:
        """The entry of an event. One that only the log itself makes, or of which none can be made, is told as that: it stops nothing."""
        try:
            if event.kind in OWN:
                raise ValueError(event.kind)  # noqa: TRY301 - it goes the same way
            return self.entry(event.kind, event.at, event.actor, event.account_ref, event.public, event.private)
        except (ValueError, TypeError):
            text = repr((event.kind, event.public, event.private)).encode("utf-8", "replace").decode()[:_KEPT]
            return self.entry(FORGED, event.at, event.actor, event.account_ref, {}, {"told": text})

    def entry(self, kind: str, at: datetime, actor: str, account_ref: str, public: Fields, private: Fields) -> New:  # noqa: PLR0917
        """One entry. Raises ValueError and TypeError for what cannot be written down, or not in so many bytes as an entry may have."""
        back_s = 0
        if self.before is not None and self.now < self.before:
            back_s = max(1, round((self.before - self.now).total_seconds()))
        made = make_entry(kind, at=at, logged=self.now, actor=actor, account=account_ref, public=public, private=private, back_s=back_s)
        if len(made.body) > MOST_ENTRY_BYTES:
            raise ValueError(f"{len(made.body):,} bytes are too many for an entry")
        self.before = self.now
        return New(made, kind[:64], at, actor[:32], account_ref[:16])
