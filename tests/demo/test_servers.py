"""The servers of the demonstration that show nothing: each fails in its own way, as the story has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from core.scanner.facts import FailureKind, Target
from core.scanner.handshake import Budget
from core.scanner.scan import Outlook, scan_all
from demo.cast import NETWORK
from tests.demonstration import demonstration

pytestmark = pytest.mark.slow
STORY = {
    "sensor": FailureKind.TIMEOUT,
    "crane": FailureKind.TIMEOUT,
    "staging": FailureKind.REFUSED,
    "meter": FailureKind.NOT_TLS,
    "gate": FailureKind.RESET,
}


def test_whoever_shows_nothing_fails_in_its_own_way(tmp_path: Path) -> None:
    async def look() -> Mapping[str, FailureKind | None]:
        found: dict[str, FailureKind | None] = {}
        async for label, scan in scan_all(targets, Outlook(budget=Budget(handshake_s=2)), now=lambda: datetime.now(UTC)):
            [seen] = scan.observations
            found[label] = seen.failure.kind if seen.failure else None
        return found

    with demonstration(tmp_path) as (_, servers):
        allow = [ip_network(NETWORK)]
        targets = [
            (one.label, Target(one.name, one.port, one.upgrade, one.address), allow) for one in servers if one.label in {*STORY, "standby"}
        ]
        assert asyncio.run(look()) == STORY | {"standby": None}
