"""What is said of exports and imports in an account's activity: the words, and the values that are told in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SAID: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "calendar.opened.v1": ("opened a private calendar of when certificates end", ()),
    "calendar.revoked.v1": ("closed a private calendar", ()),
    "export.asked.v1": ("asked for an export of this account", ()),
    "export.delivered.v1": ("handed an export to its place: {place}", ("place",)),
    "export.downloaded.v1": ("downloaded an export of this account", ()),
    "export.failed.v1": ("gave an export up", ()),
    "export.made.v1": ("made an export of {names} names, in {bytes} bytes", ("names", "bytes")),
    "export_plan.made.v1": ("set up exports that are made by themselves, {every}, to this place: {place}", ("every", "place")),
    "export_plan.removed.v1": ("ended exports that were made by themselves", ()),
    "import.applied.v1": (
        "brought a file in ({form}): {added} names added, {changed} changed, {skipped} skipped, {refused} refused",
        ("form", "added", "changed", "skipped", "refused"),
    ),
    "import.dropped.v1": ("left a file that had been handed in", ()),
    "import.handed_in.v1": ("handed in a file of {bytes} bytes", ("bytes",)),
    "import.undone.v1": (
        "undid an import: {names} names were taken out again, {cards} cards are as they were, {kept} stay",
        ("names", "cards", "kept"),
    ),
    "import.wanted.v1": ("chose what to take from a file", ()),
    "list.downloaded.v1": ("downloaded a list, {list}, of {rows} names", ("list", "rows")),
}
"""By kind. A value that was erased is told as "some"."""
KINDS: Final = frozenset(SAID)


def words(kind: str, values: Mapping[str, object]) -> tuple[str, frozenset[str]]:
    """What somebody did, and the values that it tells."""
    said, uses = SAID[kind]
    told = {name: values.get(name) for name in uses}
    shown = {name: "some" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for name, value in told.items()}
    return said.format(**shown), frozenset(uses)
