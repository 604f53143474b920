"""The terminal on PostgreSQL: a backup made, listed and restored beside the live cluster, and a migration that takes one first."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import main
from core.store import schema
from core.store.db import Sessions, make_engine
from tests import pgbackrest
from tests.make import make_actor
from tests.pgbackrest import Cluster, running_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("pgbackrest-cli")]
Say = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    with running_cluster() as running:
        yield running


def settle_in(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, database: str) -> Path:
    """Settings for a database of the cluster; the folder that is new for this test."""
    folder = cluster.make(cluster.folder / secrets.token_hex(4))
    values = {
        "KEYCHEST_DATA": str(folder / "data"), "KEYCHEST_ENVIRONMENT": "development", "DATABASE_URL": cluster.url(database),
        "KEYCHEST_PGBACKREST_CONFIG": str(cluster.config), "KEYCHEST_PGBACKREST_STANZA": pgbackrest.STANZA,
        "KEYCHEST_BACKUP_TARGETS": (folder / "target").as_uri(),
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return folder


def test_made_listed_and_restored_beside_the_live_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    folder = settle_in(cluster, monkeypatch, "keychest")
    assert main.main(["backup", "now", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["engine"], made["restorable"], made["fidelity"]) == ("postgresql", True, 100.0)
    assert made["targets"][0].startswith("pgbackrest:/")
    assert main.main(["restore", made["id"], "--into", str(folder / "new")]) == 0
    assert "closed to the network" in capsys.readouterr().out
    assert (folder / "new" / "PG_VERSION").is_file()
    assert main.main(["restore", made["id"], "--into", str(folder / "new")]) == 1
    assert main.main(["restore", made["id"], "--into", str(cluster.data)]) == 1


def test_a_migration_takes_a_proven_backup_first(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Say) -> None:
    settle_in(cluster, monkeypatch, "older")
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE older")
    engine = make_engine(cluster.url("older"))
    schema.upgrade(engine, "0001")
    with Sessions(engine).writing() as session:
        make_actor(session)
    assert main.main(["db", "upgrade"]) == 0
    assert "was made and proven before anything changes" in capsys.readouterr().out
    assert schema.revision(engine) == schema.newest_revision()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT kind, restorable FROM backups").all() == [("migration", True)]
        assert connection.exec_driver_sql("SELECT email FROM users").scalars().all() == ["mira@example.org"]
    engine.dispose()
