"""Noticing that this process itself stood still: a suspended machine, SIGSTOP, a host without a turn for us.

Its clock ran on meanwhile. What then has run out of time says nothing of the server.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

_LOOK_S: Final = 0.5
MOST_LATE_S: Final = 3.0
"""A busy machine keeps us waiting for less than this; the shortest time-out of a scan is longer."""


@dataclass(slots=True)
class Sleep:
    """When this process last woke, by the clock of its event loop in seconds. Kept up while `notice` runs."""

    woke_at_s: float = float("-inf")

    async def notice(self) -> None:
        """Look often; one look that comes late was slept through. Ends when it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            if clock() > due + MOST_LATE_S:
                self.woke_at_s = clock()
