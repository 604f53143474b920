"""A sequencer on a database of each engine."""

from __future__ import annotations

import pytest

from audit.keeper import Keeper
from audit.sequencer import Sequencer
from core.store.db import Sessions
from tests.turns import ORIGIN


@pytest.fixture
def sequencer(sessions: Sessions, keeper: Keeper) -> Sequencer:
    """A sequencer that has done nothing yet."""
    return Sequencer(sessions, keeper, ORIGIN)
