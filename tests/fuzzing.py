"""Chance, under control: rounds for as long as there is time, each from a seed of its own that is printed when it fails.

KEYCHEST_TEST_FUZZ_SECONDS: how long all fuzz tests take together, 15 if not set.
KEYCHEST_TEST_FUZZ_SEED: one round alone, as it was printed.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

SECONDS: Final = float(os.environ.get("KEYCHEST_TEST_FUZZ_SECONDS", "15"))
MOST_ROUND_S: Final = 3.0
"""None takes milliseconds more than tens."""


def fuzz(share: float, once: Callable[[random.Random], None]) -> int:
    """Rounds of `once` for this share of the time; how many they were. Raises what a round raised, its seed printed."""
    if given := os.environ.get("KEYCHEST_TEST_FUZZ_SEED"):
        once(random.Random(given))
        return 1
    base, until = secrets.token_hex(4), time.monotonic() + SECONDS * share
    for number in itertools.count():
        if time.monotonic() > until:
            print(f"{number} rounds from seed {base}")  # noqa: T201 - shown by -s and when the test fails
            return number
        began = time.thread_time()  # of this thread's own work: the machine may have other
        try:
            once(random.Random(f"{base}-{number}"))
            assert time.thread_time() - began < MOST_ROUND_S, "a round took too long"
        except BaseException:
            print(f"KEYCHEST_TEST_FUZZ_SEED={base}-{number}")  # noqa: T201 - as above
            raise
    raise AssertionError("unreachable")


def damaged(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """The bytes after one to four changes: octets set, cut, doubled, moved, or one of `words` put in."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 1, 1, 1, 2, 4, 16, 200)))
        match chance.randrange(5):
            case 0:
                new = chance.randbytes(end - start)
            case 1:
                new = b""
            case 2:
                new = data[start:end] * chance.choice((2, 2, 3, 300))
            case 3:
                new = chance.choice(words)
            case _:
                new = bytes(octet ^ (1 << chance.randrange(8)) for octet in data[start:end])
        data = data[:start] + new + data[end:]
    return data
