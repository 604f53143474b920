"""Tests that try one thing at many points run at those that differ in kind; with EVERY_STEP=1 at all of them.

@pytest.mark.parametrize("step", ["copied", pytest.param("begun", marks=seldom)])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

import pytest

EVERY: Final = os.environ.get("EVERY_STEP") == "1"
seldom: Final = pytest.mark.skipif(not EVERY, reason="tried with EVERY_STEP=1: its kind is tried at another point")


def points(every: Iterable[str], *, left_out: Sequence[str]) -> list[str]:
    """The points to be tried. What is `left_out` of an ordinary run must be one of them: a name that was changed is told."""
    found = list(every)
    assert set(left_out) <= set(found), left_out
    return found if EVERY else [point for point in found if point not in left_out]
