"""A request waits for what may hang so long and no longer."""

from __future__ import annotations

import threading
import time

import pytest

from core.patience import PATIENCE_S, within


def test_what_answers_is_heard() -> None:
    assert within(lambda: "well") == "well"


@pytest.mark.slow
def test_what_hangs_is_given_up_and_does_not_collect_threads() -> None:
    end = threading.Event()
    began = time.monotonic()
    assert within(end.wait) is None
    assert time.monotonic() - began >= PATIENCE_S
    waiting = [threading.Thread(target=within, args=(end.wait,)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    try:
        assert within(lambda: "well") is None, "four hang: a fifth is not begun"
    finally:
        end.set()
    deadline = time.monotonic() + 5
    while within(lambda: "well") is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert within(lambda: "well") == "well"
