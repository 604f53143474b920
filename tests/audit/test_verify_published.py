"""What the sequencer publishes holds for strangers: after growth, rotations, and turns that were cut short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from audit.keeper import Keeper
from audit.log import Event, append
from audit.note import public_of
from audit.reading import Folder
from audit.sequencer import Sequencer
from audit.tables import Log
from audit.verify import verified
from audit.vouched import Asked
from core.store.db import Sessions
from tests.audit_logs import ORIGIN

NOW = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC)


@pytest.mark.slow
def test_what_the_sequencer_publishes_holds(sequencer: Sequencer, sessions: Sessions, keeper: Keeper) -> None:
    asked, size = Asked(), 0
    for turn, count in enumerate((0, 3, 250, 1, 60, 0)):
        with sessions.writing() as session:
            for each in range(count):
                append(session, Event("domains.added.v1", NOW, "user:abc", "acc", {"added": each}, {"names": "canary.example.org"}))
        if turn == 3:
            first = public_of(keeper.key(), ORIGIN)
            keeper.make_next_key()
        size += sequencer.turn(NOW + timedelta(minutes=turn) - (timedelta(minutes=5) if turn == 4 else timedelta()))
        found = verified(Folder(keeper.public), asked)
        assert found.report.faults == [], turn
        assert (found.logs[0].checkpoint.size, len(found.logs[0].told.keys)) == (size, 2 if turn >= 3 else 1)
        asked = Asked(heads=found.heads, keys=(first,) if turn >= 3 else ())
    assert size == 316
    assert "set back once" in " ".join(found.report.notes)
    with sessions.writing() as session:
        session.add(Log(number=2, origin=f"{ORIGIN}/2", reason="tried", begun_at=NOW, size=0, frontier=b"", note="", trouble=""))
    sequencer.turn(NOW + timedelta(hours=1))
    found = verified(Folder(keeper.public), Asked(heads=found.heads, keys=(first,)))
    assert found.report.faults == []
    assert [(log.origin, log.checkpoint.size) for log in found.logs] == [(ORIGIN, 316), (f"{ORIGIN}/2", 1)]
    assert "The reason given: 'tried'. Its database held 316 entries then." in " ".join(found.report.notes)
