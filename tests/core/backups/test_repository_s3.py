"""pgBackRest's repository in S3: moto behind TLS with a forged chain, on loopback, and what its refusals are called."""

from __future__ import annotations

import re
import select
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.backups.engine import BackupError, Taken
from core.backups.manifest import differences
from core.backups.pgbackrest import PgBackRest
from core.backups.pgbackrest_program import Program
from core.store.db import Sessions, make_engine
from demo.pki import make_chain, make_root
from tests import pgbackrest
from tests.core.targets.wire import Wire, wire, xml
from tests.make import make_actor, make_watches
from tests.moto_s3 import REGION, Moto, running_moto
from tests.pgbackrest import STANZA, Cluster, running_cluster
from tests.postgres import free_port
from tests.servers import MOST_WAIT_S, raw_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbackrest-s3")]
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_S3 = """repo1-type=s3
repo1-path=/keychest
repo1-s3-bucket={bucket}
repo1-s3-endpoint=127.0.0.1
repo1-s3-region={region}
repo1-s3-uri-style=path
repo1-s3-key={key}
repo1-s3-key-secret={secret}
repo1-storage-host=localhost
repo1-storage-port={port}
repo1-storage-ca-file={root}
io-timeout=2
"""


@contextmanager
def tls_before(to_port: int, certificate: Path, key: Path) -> Iterator[int]:
    """The port of a front that speaks TLS and hands on to 127.0.0.1:`to_port` in plain: pgBackRest speaks to no S3 without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def behave(connection: socket.socket, _ended: threading.Event) -> None:
        with (
            context.wrap_socket(connection, server_side=True) as near,
            socket.create_connection(("127.0.0.1", to_port), MOST_WAIT_S) as far,
        ):
            near.settimeout(MOST_WAIT_S)
            while True:
                ready = [near] if near.pending() else select.select([near, far], [], [], MOST_WAIT_S)[0]
                if not ready or (near in ready and not _passed(near, far)):
                    return
                if far in ready and not _passed(far, near):
                    near.unwrap()  # says that this is the end, and no cut
                    return

    with raw_server(behave) as server:
        yield server.port


def _passed(source: socket.socket, to: socket.socket) -> bool:
    chunk = source.recv(65536)
    to.sendall(chunk)
    return bool(chunk)


@dataclass(frozen=True, slots=True)
class Stored:
    """A cluster whose repository is a bucket: `between` lies in front of it, `secret` opens it."""

    cluster: Cluster
    moto: Moto
    between: Wire
    bucket: str
    key: str
    secret: str
    port: int

    def engine_with(self, **options: str) -> PgBackRest:
        """One whose configuration says something else of these."""
        text = self.cluster.config.read_text()
        changed = text
        for name, value in options.items():
            changed, found = re.subn(rf"^{name.replace('_', '-')}=.*$", f"{name.replace('_', '-')}={value}", changed, flags=re.MULTILINE)
            assert found == 1, name
        return self.cluster.engine(self.cluster.config_with(f"with-{'-'.join(options)}.conf", text, changed))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    if absent := pgbackrest.missing():
        pytest.skip(absent)
    folder = tmp_path_factory.mktemp("s3")
    certificate, private = make_chain(["localhost"]).write(folder)
    with (
        running_moto(folder) as moto,
        wire(moto.port) as between,
        tls_before(between.port, certificate, private) as port,
        running_cluster() as cluster,  # the last to come: it ends when its WAL is handed over
    ):
        bucket, (key, secret) = moto.bucket(), moto.login()
        roots = {"root.pem": (folder / "root.pem").read_bytes(), "other-root.pem": make_root("Other").pem}
        for name, content in roots.items():
            (cluster.folder / name).write_bytes(content)
        lines = _S3.format(bucket=bucket, region=REGION, key=key, secret=secret, port=port, root=cluster.folder / "root.pem")
        cluster.config.write_text(cluster.config.read_text().replace(f"repo1-path={cluster.repository}\n", lines))
        sessions = Sessions(make_engine(cluster.url()))
        with sessions.writing() as session:
            make_watches(session, make_actor(session), "a.example", "b.example:8443")
        sessions.engine.dispose()
        yield Stored(cluster, moto, between, bucket, key, secret, port)


@pytest.fixture(scope="module")
def taken(stored: Stored) -> Taken:
    return stored.cluster.engine().take(stored.cluster.folder, now=lambda: NOW, full=True)


@pytest.fixture
def into(stored: Stored, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = stored.cluster.make(stored.cluster.folder / f"into-{request.node.name[:60]}")
    yield folder / "restored"
    shutil.rmtree(folder)


def refused(trouble: str, what: Callable[[], object]) -> str:
    with pytest.raises(BackupError) as caught:
        what()
    assert caught.value.trouble == trouble, caught.value
    return str(caught.value)


def everything(engine: PgBackRest, taken: Taken, into: Path) -> list[Callable[[], object]]:
    """What a backup, a drill and retention ask of the repository."""
    return [
        engine.info,
        lambda: engine._program.run("backup"),
        lambda: engine._program.run("expire"),
        lambda: engine.restore(taken.manifest, None, into),
    ]


def test_a_backup_lies_in_the_bucket_and_comes_back(stored: Stored, taken: Taken, into: Path) -> None:
    engine = stored.cluster.engine()
    engine.restore(taken.manifest, taken.copy, into)
    with engine.opened(into) as url:
        restored = engine.tables(url)
    assert not differences(taken.manifest.tables, restored)
    assert {table.name: table.rows for table in restored}["watches"] == 2
    with stored.moto.client("s3") as s3:
        listed = s3.list_objects_v2(Bucket=stored.bucket, Prefix=f"keychest/backup/{STANZA}/{taken.manifest.label}/")["Contents"]
    assert 0 < taken.stored_bytes <= sum(each["Size"] for each in listed)
    assert not list(stored.cluster.repository.iterdir())
    assert Program(stored.cluster.config, STANZA).kept_in() == (f"pgbackrest:s3:{stored.bucket}/keychest", None)


def test_retention_forgets_in_the_bucket(stored: Stored, taken: Taken) -> None:
    def segments() -> list[str]:
        with stored.moto.client("s3") as s3:
            listed = s3.list_objects_v2(Bucket=stored.bucket, Prefix=f"keychest/archive/{STANZA}/")["Contents"]
        return sorted(Path(each["Key"]).name[:24] for each in listed if each["Key"].endswith(".zst"))

    before = segments()
    stored.cluster.engine().tidy([taken.manifest.label])
    assert segments()[0] > before[0], "WAL from before the backup leads to none"
    assert stored.cluster.engine().info() == [taken.manifest.label]


def test_credentials_that_are_wrong_are_told(stored: Stored, taken: Taken, into: Path) -> None:
    for wrong in (stored.engine_with(repo1_s3_key_secret="of-nobody"), stored.engine_with(repo1_s3_key="AKIAOFNOBODY")):
        for ask in everything(wrong, taken, into):
            told = refused("refused", ask)
            assert told.startswith("The repository does not take the credentials"), told
            assert "x-amz" not in told
            assert "<Message>" not in told
    assert not into.exists()


def test_credentials_that_expired_are_told(stored: Stored, taken: Taken, into: Path) -> None:
    stored.between.answers = dict.fromkeys((b"GET ", b"HEAD ", b"PUT ", b"POST "), xml("400 Bad Request", "ExpiredToken"))
    try:
        for ask in everything(stored.cluster.engine(), taken, into):
            assert refused("refused", ask).startswith("The credentials of the repository have expired")
    finally:
        stored.between.answers.clear()


def test_credentials_that_may_not_write_are_told(stored: Stored, taken: Taken) -> None:
    key, secret = stored.moto.login(["s3:GetObject", "s3:ListBucket"])
    reader = stored.engine_with(repo1_s3_key=key, repo1_s3_key_secret=secret)
    assert reader.info()
    assert "may not" in refused("refused", lambda: reader._program.run("backup", "--type=incr", "--no-expire-auto"))


def test_a_certificate_that_is_not_trusted_is_no_damage(stored: Stored, taken: Taken, into: Path) -> None:
    stranger = stored.engine_with(repo1_storage_ca_file=str(stored.cluster.folder / "other-root.pem"), io_timeout="0.2")
    for ask in everything(stranger, taken, into):
        assert refused("refused", ask).startswith("The certificate that the repository's server shows is not trusted")
    other_name = stored.engine_with(repo1_storage_host="127.0.0.1", io_timeout="0.2")
    assert "certificate" in refused("refused", other_name.info)


def test_a_bucket_that_is_not_there_and_a_store_that_does_not_answer_are_told(stored: Stored, taken: Taken) -> None:
    assert "bucket" in refused("missing", stored.engine_with(repo1_s3_bucket="absent").info)
    gone = stored.engine_with(repo1_storage_port=str(free_port()), io_timeout="0.2")
    assert refused("tool", gone.info).startswith("The repository cannot be reached")
