from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store.db import Sessions, make_engine


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    """A database with nothing in it."""
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    sessions = Sessions(make_engine(server.empty() if server is not None else f"sqlite:///{tmp_path / 'keychest.db'}"))
    yield sessions
    sessions.engine.dispose()
