"""Points at which something is killed: an ordinary run takes those that each add something, KILL_POINTS=all takes every one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

ALL = os.environ.get("KILL_POINTS") == "all"


def points(every: Iterable[str], *, left_out: Sequence[str]) -> list[str]:
    """The points to be killed at. What is `left_out` of an ordinary run must be one of them: a name that was changed is told."""
    found = list(every)
    assert set(left_out) <= set(found), left_out
    return found if ALL else [point for point in found if point not in left_out]
