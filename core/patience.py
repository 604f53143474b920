"""Asking what may hang: a database, a folder that another machine lends. A request waits for it so long and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE_S: Final = 2.0
T = TypeVar("T")
_looks = threading.BoundedSemaphore(4)  # what hangs must not collect threads


def within(look: Callable[[], T], patience_s: float = PATIENCE_S) -> T | None:
    """What `look` finds within `patience_s`, else None; the look itself goes on in its thread until it fails by itself."""
    if not _looks.acquire(blocking=False):
        return None
    found: list[T] = []

    def run() -> None:
        try:
            found.append(look())
        finally:
            _looks.release()

    thread = threading.Thread(target=run, daemon=True, name="look")
    thread.start()
    thread.join(patience_s)
    return found[0] if found else None
