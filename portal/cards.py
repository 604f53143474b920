"""Notes, tags and responsible people as forms send them, and what was done to them in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.actions.cards import Bulk, ChangedMeanwhile, Edited, Typed
from core.actions.policy import Refused
from core.render import plural
from core.store.cards import Written

_FIELDS = ("note", "tags", "responsible")
_DIGITS = 18


def typed_card(form: Mapping[str, str]) -> Typed:
    """A card out of its form. A version that is none counts as one from before everything."""
    version = form.get("version", "")
    number = int(version) if version.isascii() and version.isdecimal() and len(version) <= _DIGITS else 0
    return Typed(form.get("note", ""), form.get("tags", ""), form.get("responsible", ""), number)


def bulk(form: Mapping[str, str]) -> Bulk:
    """What is to be done to the names that were ticked."""
    return Bulk(form.get("add", ""), form.get("take", ""), form.get("responsible", ""))


def card_values(card: Written, typed: Typed | None = None, refused: Refused | None = None) -> dict[str, Any]:
    """What the form of a name shows: what stands on its card, or what was typed and why it was refused.

    `meanwhile` is what somebody else wrote since; sent once more, what was typed takes its place.
    """
    meanwhile = refused.now if isinstance(refused, ChangedMeanwhile) else None
    began = typed or Typed(card.note, ", ".join(card.tags), card.responsible_ref, card.version)
    field = refused.field if refused is not None and refused.field in _FIELDS else ""
    return {
        "card": card,
        "card_typed": began,
        "card_version": meanwhile.version if meanwhile else began.version,
        "card_errors": dict.fromkeys(_FIELDS, "") | ({field: str(refused)} if field else {}),
        "card_refused": refused is not None,
        "meanwhile": meanwhile,
        "meanwhile_said": str(refused) if meanwhile else "",
    }


def said(edited: Edited, wanted: Bulk) -> str:
    """What was changed, in a sentence for each thing that was."""
    if not edited.changed:
        return f"{plural(edited.names, 'name')} stood so already. Nothing was changed."
    told = []
    if edited.tagged:
        told.append(f"Tagged {plural(edited.tagged, 'name')}: {wanted.add.strip().lower()}.")
    if edited.untagged:
        told.append(f"Took a tag from {plural(edited.untagged, 'name')}: {wanted.take.strip().lower()}.")
    if edited.moved:
        told.append(f"{edited.to or 'Nobody'} is responsible for {plural(edited.moved, 'name')} now.")
    same = edited.names - edited.changed
    return " ".join([*told, *([f"{plural(same, 'name')} stood so already."] if same else [])])
