"""What must end in a time of its own, on a machine that may have other work to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
TRIES = 3


def in_time(act: Callable[[], T], most_s: float) -> T:
    """What `act` gives. It must be done within `most_s` once in three tries: what is too slow by itself is so each time."""
    for _ in range(TRIES):
        began = time.monotonic()
        got = act()
        took_s = time.monotonic() - began
        if took_s < most_s:
            return got
    raise AssertionError(f"{took_s:.2f} s, and each time more than {most_s:g} s")
