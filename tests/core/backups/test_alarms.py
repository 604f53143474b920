"""When operators are told: every kind, and nothing while all is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.backups.alarms import KINDS, Facts, alarms

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WELL = Facts(
    installed_at=NOW - 90 * DAY,
    newest_at=NOW - HOUR,
    newest_stored_at=NOW - HOUR,
    newest_proven=True,
    last_error="",
    target_errors=(),
    drilled_at=NOW - HOUR,
    drill_faults=(),
    fidelity=100.0,
    coverage=100.0,
)


def found(**changed: Any) -> dict[str, str]:
    return alarms(replace(WELL, **changed), interval=DAY, longest_age=26 * HOUR, now=NOW)


def test_all_is_well() -> None:
    assert found() == {}
    fresh = {"installed_at": NOW, "newest_at": None, "newest_stored_at": None, "newest_proven": None, "drilled_at": None}
    assert found(**fresh) == {}
    assert found(log_waits_since=NOW - timedelta(minutes=9)) == {}


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        ("backup-failed", {"last_error": "No target took it."}, "No target took it."),
        ("backup-old", {"newest_at": NOW - 27 * HOUR}, "The goal is one every 26 hours"),
        ("backup-old", {"newest_at": None}, "There is no backup yet"),
        ("drill-failed", {"drill_faults": ("It is empty.",), "coverage": 60.0, "fidelity": 99.5}, "Coverage 60.000 %. It is empty."),
        ("coverage", {"aged_missing": 3}, "lacks 3 accounts that are older than 24 hours"),
        ("clock", {"known_until": NOW + HOUR}, "It is 23 Nov 2026, 09:00 UTC, and something was noted at 23 Nov 2026, 10:00 UTC"),
        ("silence", {"newest_stored_at": NOW - 2 * HOUR, "newest_proven": None}, "was not restored and compared within 1 hour"),
        ("silence", {"drilled_at": NOW - 27 * HOUR}, "one was due within 26 hours"),
        ("silence", {"drilled_at": None}, "No drill has run yet"),
        ("target", {"target_errors": ("sftp://host: no answer",)}, "sftp://host: no answer"),
        ("log", {"log_trouble": "The database is older."}, "The database is older."),
        ("log", {"log_waits_since": NOW - timedelta(minutes=11)}, "What happened at 23 Nov 2026, 08:49 UTC is not in the log yet"),
        ("kit", {"kit_faults": ("The cookie-key in use is not in the kit.",)}, "cookie-key"),
    ],
)
def test_each_kind(kind: str, changed: dict[str, Any], words: str) -> None:
    told = found(**changed)
    assert set(told) == {kind}
    assert words in told[kind]
    assert kind in KINDS
