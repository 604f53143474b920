"""What is a disturbance, read from what the feed says, and what is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.status.faults import faults_of
from core.status.told import Component, ComponentState, SeenBackups, SeenHost, SeenLog, Told

NOW = datetime.fromisoformat("2026-11-23T09:00:00+00:00")
HOUR = timedelta(hours=1)
BACKUPS = SeenBackups(3, 3, NOW - HOUR, "100.000", NOW - HOUR, NOW - 90 * 24 * HOUR, 2)
LOG = SeenLog(1, "keychest.example/log", 9, "00", NOW - HOUR)
WELL = Told(NOW, "https://keychest.example", "https://status.example", "1", (), backups=BACKUPS, log=LOG)


def part(key: str, state: ComponentState, minutes: int) -> Component:
    return Component(key, state, "canary.example is slow", "canary.example", NOW - timedelta(minutes=minutes), NOW)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"components": (part("portal", "ok", 90), part("log", "unmeasured", 90))}, []),
        ({"components": (part("portal", "down", 1),)}, [("down:portal", "critical", 1)]),
        ({"components": (part("scanning", "late", 14),)}, []),
        ({"components": (part("scanning", "late", 15),)}, [("down:scanning", "minor", 15)]),
        ({"components": (part("notifications", "down", 2),)}, [("down:notifications", "major", 2)]),
        ({"backups": replace(BACKUPS, fidelity="99.998")}, [("drill:failed", "minor", 60)]),
        ({"backups": replace(BACKUPS, proven_at=NOW - 37 * HOUR)}, [("drill:silent", "minor", 37 * 60)]),
        ({"backups": replace(BACKUPS, proven_at=None, oldest_at=NOW - 37 * HOUR)}, [("drill:silent", "minor", 37 * 60)]),
        ({"backups": replace(BACKUPS, proven_at=None, oldest_at=NOW - HOUR)}, []),
        ({"backups": None, "log": None}, []),
        ({"hosts": (SeenHost("web1", NOW - HOUR, True, 0, 0), SeenHost("web2", NOW, False, 0, 0))}, [("host:web1", "minor", 60)]),
        ({"log": replace(LOG, logged_at=NOW - 2 * HOUR)}, [("log:stopped", "minor", 120)]),
        ({"log": replace(LOG, logged_at=NOW - 2 * HOUR), "components": (part("log", "down", 5),)}, [("down:log", "major", 5)]),
        ({"backups": replace(BACKUPS, fidelity="0.000"), "components": (part("backups", "down", 5),)}, [("down:backups", "major", 5)]),
    ],
)
def test_what_is_a_disturbance(changed: dict[str, Any], found: list[tuple[str, str, int]]) -> None:
    faults = [each for each in faults_of(replace(WELL, **changed)) if not each.holds]
    assert [(each.key, each.impact, (NOW - each.since) // timedelta(minutes=1)) for each in faults] == found
    for each in faults:
        assert "canary" not in each.title + each.words, "what a probe said may hold a name; the public reads sentences of ours"
        assert len(each.title) <= 200
        assert len(each.key) <= 96


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        ({}, set()),
        (
            {"components": (part("portal", "ok", 90), part("log", "unmeasured", 90), part("scanning", "late", 5))},
            {"down:log", "down:scanning"},
        ),
        ({"backups": None, "log": None}, {"drill:failed", "drill:silent", "log:stopped"}),
        ({"backups": replace(BACKUPS, fidelity="0.000"), "components": (part("backups", "down", 5),)}, {"drill:failed"}),
        ({"log": replace(LOG, logged_at=NOW - 2 * HOUR), "components": (part("log", "late", 5),)}, {"down:log"}),
    ],
)
def test_what_is_not_known_ends_nothing(changed: dict[str, Any], held: set[str]) -> None:
    """Nobody says that something is well again, only because nobody looks."""
    assert {each.key for each in faults_of(replace(WELL, **changed)) if each.holds} == held
