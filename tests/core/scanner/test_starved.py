"""Without memory nothing is said of any server: the scans end, and whoever asked for them hears why."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from core.scanner import scan
from core.scanner.facts import Scan, Target


def test_a_process_without_memory_tells_nothing_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async def starved(*_words: object) -> Scan:
        raise MemoryError

    monkeypatch.setattr(scan, "_scan", starved)

    async def look() -> list[Scan]:
        targets = [(number, Target("a.example"), ()) for number in range(3)]
        return [found async for _, found in scan.scan_all(targets, scan.Outlook(), now=lambda: datetime.now(UTC))]

    with pytest.raises(MemoryError):
        asyncio.run(asyncio.wait_for(look(), 10))
