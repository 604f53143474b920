"""What goes out comes back identical: exported, imported into an empty installation, exported there, and compared byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.exports.compare import differences
from core.store.db import Sessions, make_engine
from core.store.imports import ImportedObservation
from core.store.observations import Certificate, Observation
from tests.exporting import bring_in, export, make_rich, members
from tests.make import NOW, make_actor


@pytest.fixture
def elsewhere_sessions(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Sessions]:
    """Another installation, with nothing in it."""
    (tmp_path / "elsewhere.db").write_bytes(migrated_sqlite.read_bytes())
    found = Sessions(make_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}"))
    yield found
    found.engine.dispose()


def test_an_account_comes_back_whole_and_goes_on_as_it_came(sessions: Sessions, elsewhere_sessions: Sessions, tmp_path: Path) -> None:
    owner, _ = make_rich(sessions)
    export(sessions, owner, tmp_path / "first.zip", now=NOW + timedelta(days=1))
    there = elsewhere_sessions
    with there.writing() as session:
        other = make_actor(session, "somebody@else.example")
    _, done = bring_in(there, other, tmp_path / "first.zip", now=NOW + timedelta(days=2))
    assert done.plan.counts == {"added": 5, "changed": 0, "skipped": 0, "refused": 0}
    export(there, other, tmp_path / "second.zip", now=NOW + timedelta(days=3))
    assert differences(tmp_path / "first.zip", tmp_path / "second.zip") == ()
    one, two = members(tmp_path / "first.zip"), members(tmp_path / "second.zip")
    for member in (
        "observations.jsonl",
        "incidents.jsonl",
        "chains.jsonl",
        "certificates.jsonl",
        "certificates.pem",
        "domains.csv",
        "settings.json",
    ):
        assert one[member] == two[member], member
    with there.reading() as session:  # what is shared holds what was seen here, by nobody's word
        assert session.scalar(sa.select(sa.func.count()).select_from(Observation)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Certificate)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(ImportedObservation)) == one["observations.jsonl"].count(b"\n")
    _, again = bring_in(there, other, tmp_path / "first.zip", now=NOW + timedelta(days=4))
    assert again.plan.counts == {"added": 0, "changed": 0, "skipped": 5, "refused": 0}
    assert again.history is not None
    assert (again.history.observations, again.history.incidents, again.history.certificates) == (0, 0, 0)
    export(there, other, tmp_path / "third.zip", now=NOW + timedelta(days=5))
    assert differences(tmp_path / "first.zip", tmp_path / "third.zip") == ()
