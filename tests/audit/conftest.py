"""A database on each engine, and a folder that the log keeps outside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.keeper import Keeper
from audit.sequencer import Sequencer
from core.store.db import Sessions

ORIGIN = "keychest.example/log"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """The folder, prepared."""
    found = Keeper(tmp_path / "log")
    found.prepare()
    return found


@pytest.fixture
def sequencer(sessions: Sessions, keeper: Keeper) -> Sequencer:
    """A sequencer that has done nothing yet."""
    return Sequencer(sessions, keeper, ORIGIN)
