"""Where the next page of a list begins, as it stands in an address: an instant and what tells apart what happened then.

What is not one of ours counts as the first page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_DIGITS = 18
_MOST_SKIPPED = 10_000


def cursor(at: datetime, rest: str | int) -> str:
    """An instant to the microsecond, and the rest of the key."""
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}~{rest}"


def read_cursor(text: str) -> tuple[datetime, str] | None:
    """The instant and the rest; None for what is no cursor."""
    micros, tilde, rest = text.partition("~")
    if not tilde or not (micros.isascii() and micros.isdecimal()) or len(micros) > _MOST_DIGITS:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(micros)), rest
    except OverflowError:
        return None


def read_place(text: str) -> tuple[datetime | None, int]:
    """A cursor that counts how many of the same instant were shown already."""
    found = read_cursor(text)
    if found is None or not (found[1].isascii() and found[1].isdecimal()) or len(found[1]) > _MOST_DIGITS:
        return None, 0
    return found[0], min(int(found[1]), _MOST_SKIPPED)


def place_after(shown: Sequence[datetime], until: datetime | None, skipped: int) -> str:
    """The cursor of what follows things of these instants, newest first, which began at `until` after `skipped` of that instant."""
    last = shown[-1]
    same = sum(at == last for at in shown)
    return cursor(last, same + (skipped if until == last else 0))
