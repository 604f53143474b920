"""PostgreSQL's backups on a real cluster with a real, encrypted repository: made under writers, lost parts, wrong keys, restored beside."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
import sqlalchemy as sa
from psycopg import errors

from core.backups import pg_point
from core.backups import pgbackrest as engine_module
from core.backups.engine import BackupError, Taken
from core.backups.manifest import differences, fidelity
from core.backups.owner import owner_of, run
from core.backups.pg_point import make_point
from core.backups.pgbackrest import PgBackRest
from core.backups.pgbackrest_program import Program, readable, trouble
from core.backups.scratch_server import end_of
from core.store import schema
from core.store.db import Sessions, make_engine
from tests import pgbackrest
from tests.conftest import ROOT
from tests.make import make_actor, make_watches
from tests.pgbackrest import PASSPHRASE, STANZA, Cluster, running_cluster
from tests.postgres import programs
from tests.processes import eventually, marked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbackrest")]  # one cluster for all
ABSENT = pgbackrest.missing()
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if ABSENT:
        pytest.skip(ABSENT)
    with running_cluster() as running:
        sessions = Sessions(make_engine(running.url()))
        with sessions.writing() as session:
            make_watches(session, make_actor(session), "a.example", "b.example:8443")
            make_actor(session, "noor@example.org")
        sessions.engine.dispose()
        with running.connect() as connection:
            connection.execute("CREATE TABLE written (id bigint PRIMARY KEY, note text NOT NULL)")
        yield running


@dataclass(slots=True)
class Writing:
    """What writers had acknowledged, and how much of it when the point was made."""

    cluster: Cluster
    acked: list[int] = field(default_factory=list)
    before: set[int] = field(default_factory=set)

    def now(self) -> datetime:
        self.before = set(self.acked)
        return NOW

    @contextmanager
    def going_on(self) -> Iterator[None]:
        ends = threading.Event()
        threads = [threading.Thread(target=self._write, args=(number, ends)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(self.acked) > 20)
            yield
            so_far = len(self.acked)
            eventually(lambda: len(self.acked) > so_far + 20)
        finally:
            ends.set()
            for thread in threads:
                thread.join(20)

    def _write(self, number: int, ends: threading.Event) -> None:
        with self.cluster.connect() as connection:
            row = number
            while not ends.is_set():
                connection.execute("INSERT INTO written VALUES (%s, %s)", (row, f"row {row}"))
                self.acked.append(row)
                row += 2


@dataclass(frozen=True, slots=True)
class Made:
    """`segment`: the stored WAL file in which the point stands, which nothing but recovery to the point needs."""

    taken: Taken
    writing: Writing
    segment: Path


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Made:
    """The first backup: the stanza is made for it, and what was asked for as incremental becomes a full one."""
    writing = Writing(cluster)
    with writing.going_on():
        taken = cluster.engine().take(cluster.folder, now=writing.now, full=False)
    point, wal = taken.manifest.point.encode(), cluster.data / "pg_wal"
    (name,) = [path.name for path in wal.iterdir() if path.is_file() and point in path.read_bytes()]
    (segment,) = [path for path in cluster.segments() if path.name.startswith(name)]
    return Made(taken, writing, segment)


@pytest.fixture
def into(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A name for a restored copy, in a folder of the server's owner."""
    folder = cluster.make(cluster.folder / f"into-{request.node.name[:60]}")
    yield folder / "restored"
    shutil.rmtree(folder)


def refused(trouble: str, what: Callable[[], object]) -> str:
    with pytest.raises(BackupError) as caught:
        what()
    assert caught.value.trouble == trouble, caught.value
    return str(caught.value)


@contextmanager
def opened_by(engine: PgBackRest, taken: Taken, into: Path) -> Iterator[str]:
    engine.restore(taken.manifest, taken.copy, into)
    with engine.opened(into) as url:
        yield url


def ids(url: str) -> set[int]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {int(row[0]) for row in connection.execute(sa.text("SELECT id FROM written"))}
    engine.dispose()
    return found


def test_what_was_acknowledged_before_the_point_comes_back_and_nothing_else(cluster: Cluster, made: Made, into: Path) -> None:
    manifest, writing = made.taken.manifest, made.writing
    with opened_by(cluster.engine(), made.taken, into) as url:
        restored = cluster.engine().tables(url)
        there = ids(url)
        assert not marked(PASSPHRASE), "the passphrase stands in words or environment of a process"
    assert not differences(manifest.tables, restored)
    assert fidelity(manifest.tables, restored) == 100.0
    assert writing.before - there == set(), "acknowledged before the point, and lost"
    assert len(there - writing.before) <= 2, "more than one row in hand for each writer"
    assert len(writing.acked) > len(there) + 20, "nothing was written after the point: it proves nothing"
    assert manifest.label.endswith("F")
    assert (manifest.engine, manifest.at, manifest.revision, manifest.accounts) == ("postgresql", NOW, schema.newest_revision(), 2)
    with cluster.connect() as connection:
        assert connection.execute("SELECT ref FROM installation").fetchone() == (manifest.installation,)
    assert manifest.head > 0
    assert {table.name: table.rows for table in manifest.tables}["watches"] == 2
    stored = sum(path.stat().st_size for path in (cluster.repository / "backup" / STANZA / manifest.label).rglob("*") if path.is_file())
    assert 0 < made.taken.stored_bytes <= stored


def test_a_restored_copy_reaches_nobody_and_leaves_nothing_behind(cluster: Cluster, made: Made, into: Path) -> None:
    with opened_by(cluster.engine(), made.taken, into) as url:
        sockets = Path(str(sa.make_url(url).query["host"]))
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert sockets.stat().st_uid == cluster.data.stat().st_uid
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            told = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in ("archive_mode", "listen_addresses", "primary_conninfo")
            }
            libraries = connection.exec_driver_sql("SHOW shared_preload_libraries").scalar()
            connection.exec_driver_sql("CREATE TABLE only_here AS SELECT generate_series(1, 1000)")
            connection.exec_driver_sql("SELECT pg_switch_wal()")
        engine.dispose()
        assert marked(str(into))
    assert told == {"archive_mode": "off", "listen_addresses": "", "primary_conninfo": ""}
    assert libraries == ""
    assert (into / "live-configuration" / "pg_hba.conf").exists()
    assert {path.name[:8] for path in cluster.segments()} == {"00000001"}, "the copy wrote its own time line into the repository"
    assert not marked(str(into), str(sockets))
    assert not sockets.exists()
    assert not list((cluster.folder / "lock").glob("*"))
    with cluster.engine().opened(into) as url:
        assert "only_here" in {table.name for table in cluster.engine().tables(url)}, "it recovers once"


_OPENS = """
import sys
from pathlib import Path
from core.backups.pgbackrest import PgBackRest
with PgBackRest(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).opened(Path(sys.argv[4])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_a_server_ends_with_the_one_who_opened_it(cluster: Cluster, made: Made, into: Path) -> None:
    cluster.engine().restore(made.taken.manifest, None, into)
    words = [sys.executable, "-c", _OPENS, str(cluster.config), STANZA, cluster.url(), str(into)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opener:
        assert opener.stdout is not None
        url = opener.stdout.readline()
        assert cluster.engine().tables(url.strip())
        opener.kill()
    eventually(lambda: not marked(str(into)))
    shutil.rmtree(str(sa.make_url(url.strip()).query["host"]))
    with cluster.engine().opened(into) as again:
        assert not differences(made.taken.manifest.tables, cluster.engine().tables(again))


def test_a_passphrase_that_does_not_fit_is_told(cluster: Cluster, made: Made, into: Path) -> None:
    other = cluster.engine(cluster.config_with("other-key.conf", PASSPHRASE, "another"))
    assert "another" not in refused("wrong key", lambda: other.restore(made.taken.manifest, None, into))
    assert not into.exists(), "what a failed restore began was left"
    refused("wrong key", lambda: other.take(cluster.folder, now=lambda: NOW, full=False))
    refused("wrong key", lambda: other.verify(made.taken.manifest.label))
    refused("wrong key", other.info)


def test_a_key_that_changes_before_recovery_is_told(cluster: Cluster, made: Made, into: Path) -> None:
    cluster.engine().restore(made.taken.manifest, None, into)
    conf = into / "postgresql.conf"
    other = cluster.config_with("other-key.conf", PASSPHRASE, "another")
    conf.write_text(conf.read_text().replace(str(cluster.config), str(other)))
    with pytest.raises(BackupError) as caught, cluster.engine().opened(into):
        raise AssertionError("it opened")
    assert caught.value.trouble == "wrong key", caught.value
    assert not marked(str(into))


def test_the_environment_has_no_say(cluster: Cluster, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBACKREST_REPO1_CIPHER_PASS", "another")
    assert made.taken.manifest.label in cluster.engine().info()


def test_missing_wal_is_told_by_its_name(cluster: Cluster, made: Made, into: Path) -> None:
    segment = made.segment
    aside = cluster.folder / "aside.zst"
    segment.rename(aside)
    try:
        cluster.engine().restore(made.taken.manifest, None, into)
        with pytest.raises(BackupError) as caught, cluster.engine().opened(into):
            raise AssertionError("it opened")
    finally:
        aside.rename(segment)
    assert caught.value.trouble == "missing WAL", caught.value
    assert segment.name[:24] in str(caught.value)
    assert not marked(str(into))


def test_a_point_that_never_was_is_missing_wal(cluster: Cluster, made: Made, into: Path) -> None:
    never = replace(made.taken, manifest=replace(made.taken.manifest, point="kc-never-made"))
    with pytest.raises(BackupError) as caught, opened_by(cluster.engine(), never, into):
        raise AssertionError("it opened")
    assert caught.value.trouble == "missing WAL", caught.value


@contextmanager
def flipped(path: Path, at: int, bit: int) -> Iterator[None]:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        try:
            _write_at(file, at, byte ^ (1 << bit))
            yield
        finally:
            _write_at(file, at, byte)


def _write_at(file: BinaryIO, at: int, byte: int) -> None:
    file.seek(at)
    file.write(bytes([byte]))
    file.flush()


def needed(cluster: Cluster, made: Made) -> list[Path]:
    """Files without a second copy that a restore to the point reads: those of the backup, and WAL from its start to the point."""
    folder = cluster.repository / "backup" / STANZA / made.taken.manifest.label
    stored = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("backup.manifest"))
    first = min(path.name for path in (cluster.repository / "archive").rglob("*.backup"))[:24]
    return [*stored, *(path for path in cluster.segments() if first <= path.name[:24] and path.name <= made.segment.name)]


def test_forty_of_forty_flipped_bits_are_found(cluster: Cluster, made: Made) -> None:
    engine, chance = cluster.engine(), random.Random(20261123)
    files = needed(cluster, made)
    assert len(files) >= 5
    engine.verify(made.taken.manifest.label)
    for number in range(40):
        path = files[number % len(files)]
        with flipped(path, chance.randrange(path.stat().st_size), chance.randrange(8)):
            refused("damaged", lambda: engine.verify(made.taken.manifest.label))
    engine.verify(made.taken.manifest.label)


def test_damage_is_told_by_a_restore_too(cluster: Cluster, made: Made, into: Path) -> None:
    folder = cluster.repository / "backup" / STANZA / made.taken.manifest.label
    bundle = max(folder.rglob("bundle/*"), key=lambda path: path.stat().st_size)
    with flipped(bundle, bundle.stat().st_size // 2, 3):
        refused("damaged", lambda: cluster.engine().restore(made.taken.manifest, None, into))
    assert not into.exists()
    with flipped(folder / "backup.manifest", 1000, 6), flipped(folder / "backup.manifest.copy", 1000, 6):
        refused("damaged", lambda: cluster.engine().restore(made.taken.manifest, None, into))
    cluster.engine().restore(made.taken.manifest, None, into)
    segment = made.segment
    with flipped(segment, 40, 3), pytest.raises(BackupError) as caught, cluster.engine().opened(into):
        raise AssertionError("it opened")
    assert caught.value.trouble == "damaged", caught.value


def test_a_file_that_is_gone_is_damage_and_a_backup_that_is_gone_is_missing(cluster: Cluster, made: Made, into: Path) -> None:
    folder = cluster.repository / "backup" / STANZA / made.taken.manifest.label
    bundle, aside = next(folder.rglob("bundle/1")), cluster.folder / "aside"
    bundle.rename(aside)
    try:
        refused("damaged", lambda: cluster.engine().restore(made.taken.manifest, None, into))
        refused("damaged", lambda: cluster.engine().verify(made.taken.manifest.label))
    finally:
        aside.rename(bundle)
    folder.rename(aside)
    try:
        refused("missing", lambda: cluster.engine().restore(made.taken.manifest, None, into))
        refused("missing", lambda: cluster.engine().verify(made.taken.manifest.label))
    finally:
        aside.rename(folder)


@pytest.mark.parametrize("label", ["20200101-000000F", "latest", "", "../../etc"])
def test_an_unknown_label_is_missing(cluster: Cluster, made: Made, into: Path, label: str) -> None:
    refused("missing", lambda: cluster.engine().restore(replace(made.taken.manifest, label=label), None, into))
    assert not into.exists()
    refused("missing", lambda: cluster.engine().verify(label))
    refused("missing", lambda: cluster.engine().expire(label))


def test_nothing_is_restored_over(cluster: Cluster, made: Made, into: Path) -> None:
    engine, manifest = cluster.engine(), made.taken.manifest
    cluster.make(into)
    (into / "kept").write_text("mine")
    refused("refused", lambda: engine.restore(manifest, None, into))
    assert (into / "kept").read_text() == "mine"
    assert [path.name for path in into.iterdir()] == ["kept"]
    link = into.parent / "link"
    link.symlink_to(cluster.data)
    control = (cluster.data / "PG_VERSION").stat()
    for place in (cluster.data, link, cluster.data / "new", link / "new", cluster.folder / "repository" / ".." / "data"):
        assert "live data directory" in refused("refused", lambda place=place: engine.restore(manifest, None, place))  # type: ignore[misc]
    assert not (cluster.data / "new").exists()
    assert (cluster.data / "PG_VERSION").stat() == control
    with cluster.connect() as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (2,)
    with pytest.raises(BackupError, match="not restored by KeyChest"), engine.opened(cluster.data):
        raise AssertionError("it opened the live one")


def test_the_place_of_a_live_directory_that_is_gone_stays_free(cluster: Cluster, made: Made, into: Path) -> None:
    moved = cluster.config_with("moved.conf", f"pg1-path={cluster.data}", f"pg1-path={into}")
    assert "belongs" in refused("refused", lambda: cluster.engine(moved).restore(made.taken.manifest, None, into))
    assert not into.exists()


@pytest.fixture
def small(cluster: Cluster) -> Iterator[Path]:
    """A disk of 12 MB."""
    place = cluster.make(cluster.folder / "small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place / "restored"
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_told_and_left_empty(cluster: Cluster, made: Made, small: Path) -> None:
    refused("full", lambda: cluster.engine().restore(made.taken.manifest, None, small))
    assert not list(small.parent.iterdir())


def test_what_could_not_come_back_is_refused_before_it_is_copied(cluster: Cluster, made: Made) -> None:
    place, before = cluster.make(cluster.folder / "elsewhere"), cluster.engine().info()
    with cluster.connect("postgres") as connection:
        connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'".encode())
        assert "elsewhere" in refused("refused", lambda: cluster.engine().take(cluster.folder, now=lambda: NOW, full=False))
        connection.execute("DROP TABLESPACE elsewhere")
    assert cluster.engine().info() == before


def test_a_place_that_the_servers_user_cannot_reach_is_told(cluster: Cluster, made: Made, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root has a place that the server's user cannot reach")
    tmp_path.chmod(0o700)
    assert "cannot reach" in refused("refused", lambda: cluster.engine().restore(made.taken.manifest, None, tmp_path / "into"))
    assert not list(tmp_path.iterdir())


def test_a_login_that_owns_its_tables_can_take_and_look(cluster: Cluster, made: Made, into: Path) -> None:
    with cluster.connect("postgres") as connection:
        connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("CREATE DATABASE plain OWNER plain")
    engine = make_engine(cluster.url("plain", "plain"))
    schema.upgrade(engine)
    engine.dispose()
    plain = PgBackRest(cluster.config, STANZA, cluster.url("plain", "plain"))
    assert "pg_create_restore_point" in refused("refused", lambda: plain.take(cluster.folder, now=lambda: NOW, full=False))
    with cluster.connect("plain") as connection:
        connection.execute("GRANT EXECUTE ON FUNCTION pg_create_restore_point(text), pg_switch_wal() TO plain")
        connection.execute("CREATE SCHEMA far CREATE TABLE t (t text, n numeric)")
        connection.execute("INSERT INTO far.t VALUES ('b', 1.50), (NULL, 2), ('', 3), (E'a\\nb', 4)")
        connection.execute("GRANT USAGE ON SCHEMA far TO plain; ALTER TABLE far.t OWNER TO plain")
    taken = plain.take(cluster.folder, now=lambda: NOW, full=False)
    assert taken.manifest.label.endswith("I")
    with opened_by(plain, taken, into) as url:
        assert not differences(taken.manifest.tables, plain.tables(url))
    assert {table.name: table.rows for table in taken.manifest.tables}["far.t"] == 4
    newest = plain.info()[-1]
    assert newest == taken.manifest.label
    for label in (newest, made.taken.manifest.label):
        refused("refused", lambda label=label: plain.expire(label))  # type: ignore[misc]
    again = plain.take(cluster.folder, now=lambda: NOW, full=True).manifest.label
    plain.expire(newest)
    assert plain.info() == [made.taken.manifest.label, again]


def test_a_point_whose_wal_does_not_arrive_counts_for_nothing(cluster: Cluster, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_ARCHIVED_S", 1.0)
    program = cluster.engine()._program
    program.run("stop")  # archive-push fails from now on
    try:
        with make_point(cluster.url(), lambda: NOW) as point:
            words = refused("missing WAL", lambda: cluster.engine()._wait_for_segment(point))
        assert point.segment in words
        assert "pgbackrest stop" in refused("refused", lambda: cluster.engine().take(cluster.folder, now=lambda: NOW, full=False))
    finally:
        program.run("start")
    with make_point(cluster.url(), lambda: NOW) as point:  # the server is told to go on by the next file
        cluster.engine()._wait_for_segment(point)


def test_a_writer_that_never_ends_is_named(cluster: Cluster, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_point, "_TRIES_S", 0.5)
    with cluster.connect() as holder:
        holder.execute("SET application_name = 'sleepy'")
        holder.execute("BEGIN")
        holder.execute("INSERT INTO written VALUES (-1, 'open')")
        with pytest.raises(BackupError, match="sleepy") as caught, make_point(cluster.url(), lambda: NOW):
            raise AssertionError("a point was made")
        with cluster.connect() as writer:
            writer.execute("SET lock_timeout = '100ms'; INSERT INTO written VALUES (-2, 'goes on'); DELETE FROM written WHERE id = -2")
        holder.execute("ROLLBACK")
    assert caught.value.trouble == "refused"


def test_while_rows_are_counted_writers_go_on_and_nobody_can_empty_a_table(cluster: Cluster, made: Made) -> None:
    with make_point(cluster.url(), lambda: NOW) as point, cluster.connect() as writer:
        assert point.locked_s < 1.0
        writer.execute("SET lock_timeout = '200ms'")
        writer.execute("INSERT INTO written VALUES (-3, 'later')")
        with pytest.raises(errors.LockNotAvailable):
            writer.execute("TRUNCATE written")
        before = {table.name: table for table in point.count()}
        writer.execute("DELETE FROM written WHERE id = -3")
    after = {table.name: table for table in cluster.engine().tables(cluster.url())}
    assert before["written"] == after["written"], "the point saw what came after it"


def test_hashes_do_not_depend_on_who_asks(cluster: Cluster, made: Made) -> None:
    with cluster.connect("postgres") as connection:
        connection.execute("CREATE DATABASE odd")
        connection.execute("CREATE ROLE odd LOGIN SUPERUSER")
    with cluster.connect("odd") as connection:
        connection.execute("""CREATE TABLE "Odd ""name" (t text, "B c" timestamptz, f float8, b bytea, i interval)""")
        connection.execute(
            """INSERT INTO "Odd ""name" VALUES ('x', now(), 0.1::float8 + 0.2, '\\xff00', '1 day 2 hours'), ('x', NULL, 'NaN', '', NULL)"""
        )
        connection.execute("CREATE TABLE part (id int, v text, PRIMARY KEY (v, id)) PARTITION BY LIST (id)")
        connection.execute("CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1); INSERT INTO part VALUES (1, 'v')")
    first = cluster.engine().tables(cluster.url("odd"))
    assert [(table.name, table.rows) for table in first] == [('Odd "name', 2), ("part_1", 1)]
    with cluster.connect("odd") as connection:
        for setting in (
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Tokyo'",
            "extra_float_digits = -5",
            "bytea_output = 'escape'",
            "IntervalStyle = 'iso_8601'",
        ):
            connection.execute(f"ALTER ROLE odd SET {setting}".encode())
        connection.execute('CREATE TABLE copy AS SELECT * FROM "Odd ""name"; DELETE FROM "Odd ""name"')
        connection.execute('INSERT INTO "Odd ""name" SELECT * FROM copy ORDER BY f DESC NULLS FIRST; DROP TABLE copy')
    assert cluster.engine().tables(cluster.url("odd", "odd")) == first
    with cluster.connect("odd") as connection:
        connection.execute("UPDATE \"Odd \"\"name\" SET b = '\\xff01' WHERE b = '\\xff00'")
    assert cluster.engine().tables(cluster.url("odd")) != first


def test_nobody_else_may(cluster: Cluster) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can try who else may")
    owner = owner_of(cluster.data)
    assert (owner.uid, owner.groups) == (cluster.data.stat().st_uid, [])
    with pytest.raises(BackupError, match="belongs to root"):
        owner_of(Path("/usr/nothing/here"))
    os.seteuid(65534)
    try:
        with pytest.raises(BackupError, match="Run this as the user postgres or as root") as caught:
            owner_of(cluster.data)
    finally:
        os.seteuid(0)
    assert caught.value.trouble == "refused"


def test_a_database_that_is_not_there_is_told(cluster: Cluster, made: Made, into: Path) -> None:
    assert made.taken.manifest.label
    absent = PgBackRest(cluster.config, STANZA, cluster.url("absent"))
    with pytest.raises(BackupError, match="absent") as caught, opened_by(absent, made.taken, into):
        raise AssertionError("it opened")
    assert caught.value.trouble == "wrong database", caught.value
    assert not marked(str(into))


def test_the_example_configurations_are_taken_by_the_programs(cluster: Cluster) -> None:
    words = (ROOT / "deploy" / "pgbackrest.conf").read_text()
    changed = {
        "#repo1-cipher-pass=": f"repo1-cipher-pass={PASSPHRASE}",
        "/var/lib/pgbackrest": f"{cluster.folder}/example",
        "/var/lib/postgresql/15/main": str(cluster.data),
        "log-level-file=detail": "log-level-file=off",
    }
    for old, new in changed.items():
        assert f"\n{old}" in words or f"={old}" in words, old
        words = words.replace(old, new)
    config = cluster.config_with("example.conf", cluster.config.read_text(), words)
    assert Program(config, "keychest").live() == cluster.data
    assert not Program(config, "keychest").repository().has_stanza
    example = cluster.config_with(
        "example-postgresql.conf", cluster.config.read_text(), (ROOT / "deploy" / "postgresql-backup.conf").read_text()
    )
    server = programs()
    assert server is not None
    for name, value in {"wal_level": "replica", "archive_mode": "on", "archive_timeout": "60"}.items():
        argv = [str(server / "postgres"), "-D", str(cluster.data), "-c", f"config_file={example}", "-C", name]
        assert run(owner_of(cluster.data), argv, within_s=20).out.strip() == value


def test_words_keep_no_key() -> None:
    broken = "FormatError: value at line 44 'cipher-pass=\"+a3\x00\x01XW': expected\nFormatError: outside of section at line 1: \xff#key"
    told = str(trouble(29, broken, doing="restore"))
    assert "XW" not in told
    assert "#key" not in told
    assert len(readable("x" * 5000)) < 1000


@pytest.mark.parametrize(
    ("log", "meant"),
    [
        ('FATAL:  could not write to file "pg_wal/xlogtemp.9": No space left on device', "full"),
        (
            "LOG:  incorrect resource manager data checksum in record at 0/5\nFATAL:  recovery ended before configured recovery target",
            "damaged",
        ),
        ("PANIC:  could not locate a valid checkpoint record", "missing WAL"),
        ('FATAL:  lock file "postmaster.pid" already exists', "refused"),
        ("FATAL:  something new", "tool"),
    ],
)
def test_the_words_of_a_server_that_ended(log: str, meant: str) -> None:
    assert end_of(log).trouble == meant


def test_the_point_is_a_name_that_postgresql_takes(cluster: Cluster, made: Made) -> None:
    assert made.taken.manifest.point.startswith("kc-20261123T090000Z-")
    assert len(made.taken.manifest.point) < 64
