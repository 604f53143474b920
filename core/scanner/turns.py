"""Who may dial when: so many scans at once altogether, and fewer at one port of one address, however many names lead to it.

A thousand names of one machine are common (hosting, load balancers) and no reason to knock at it two hundred times at once. Those
that wait for an address hold up no others: they give their place back meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

AT_ONE_SERVER: Final = 60
"""A batch of a thousand names of one machine that lets each wait for its ten seconds still ends within its job's time."""


class Turns:
    """The places of one batch. Belongs to one event loop."""

    def __init__(self, in_flight: int) -> None:
        self._places = asyncio.Semaphore(in_flight)
        self._servers: dict[tuple[str, int], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places, for a whole scan."""
        async with self._places:
            yield

    @asynccontextmanager
    async def at(self, addresses: Sequence[str], port: int) -> AsyncIterator[float]:
        """A turn at this port of each of these addresses, for who has a place; gives the seconds that it took to get them.

        They are taken in one order by all, so that no two scans wait for each other.
        """
        wanted = [self._servers.setdefault((each, port), asyncio.Semaphore(AT_ONE_SERVER)) for each in sorted(set(addresses))]
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with AsyncExitStack() as held:
            if any(turn.locked() for turn in wanted):
                self._places.release()
                try:
                    for turn in wanted:
                        await held.enter_async_context(turn)
                finally:
                    await self._places.acquire()
            else:
                for turn in wanted:
                    await held.enter_async_context(turn)
            yield clock() - began_s
