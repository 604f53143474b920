"""pgBackRest's repository on another host, by real ssh in both directions."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.backups.engine import BackupError, Taken
from core.backups.manifest import differences, fidelity
from core.backups.pgbackrest_program import Program
from core.backups.repository_host import RepositoryHost
from core.store.db import Sessions, make_engine
from tests import pgbackrest, sshd
from tests.make import make_actor, make_watches
from tests.pgbackrest import PASSPHRASE, STANZA, running_cluster
from tests.postgres import folder_of_its_own, free_port
from tests.processes import eventually, marked
from tests.repository_host import CLIENT, Hosts, apart, as_user, give, running_sshd

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbackrest-host")]
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if absent := pgbackrest.missing() or ("" if sshd.program() else "sshd is not installed (apt-get install openssh-server)"):
        pytest.skip(absent)
    port = free_port()
    with folder_of_its_own() as folder:
        give(folder, 0o755)
        with running_sshd(folder, port), running_cluster() as cluster:  # the last to come: it ends when its WAL is handed over
            hosts = apart(cluster, folder, port)
            (folder / "known_hosts").write_text(hosts.known_hosts("host_key"))
            sessions = Sessions(make_engine(cluster.url()))
            with sessions.writing() as session:
                make_watches(session, make_actor(session), "a.example", "b.example:8443")
            sessions.engine.dispose()
            yield hosts


@pytest.fixture(scope="module")
def taken(hosts: Hosts) -> Taken:
    return hosts.cluster.engine().take(hosts.cluster.folder, now=lambda: NOW, full=True)


@pytest.fixture
def into(hosts: Hosts, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = hosts.cluster.make(hosts.cluster.folder / f"into-{request.node.name[:60]}")
    yield folder / "restored"
    shutil.rmtree(folder)


def refused(trouble: str, what: Callable[[], object]) -> str:
    with pytest.raises(BackupError) as caught:
        what()
    assert caught.value.trouble == trouble, caught.value
    return str(caught.value)


def test_a_backup_is_made_there_and_comes_back_here(hosts: Hosts, taken: Taken, into: Path) -> None:
    engine = hosts.cluster.engine()
    engine.restore(taken.manifest, taken.copy, into)
    with engine.opened(into) as url:
        restored = engine.tables(url)
        assert not marked(PASSPHRASE)
    assert not differences(taken.manifest.tables, restored)
    assert fidelity(taken.manifest.tables, restored) == 100.0
    assert {table.name: table.rows for table in restored}["watches"] == 2
    assert taken.manifest.label in engine.info()
    assert (hosts.cluster.repository / "backup" / STANZA / taken.manifest.label).is_dir()
    assert taken.stored_bytes > 0
    assert Program(hosts.cluster.config, STANZA).kept_in() == ("pgbackrest:127.0.0.1:", None)


def test_ssh_asks_nobody_and_hands_nothing_on(hosts: Hosts, taken: Taken) -> None:
    ours = [words for words in hosts.calls() if "--type=full" in shlex.split(words[-1])]
    assert ours, "nothing was run there"
    for words in ours:
        for option in ("-T", "-a", "-x", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=20"):
            assert option in words[: words.index("--")]
        far = shlex.split(words[-1])
        assert far[:3] == ["pgbackrest", f"--config={hosts.far}", f"--stanza={STANZA}"]
    assert PASSPHRASE not in (hosts.folder / "calls").read_text()


def test_a_flipped_byte_there_is_found_from_here(hosts: Hosts, taken: Taken) -> None:
    engine = hosts.cluster.engine()
    engine.verify(taken.manifest.label)
    stored = hosts.cluster.repository / "backup" / STANZA / taken.manifest.label
    path = max((path for path in stored.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    try:
        refused("damaged", lambda: engine.verify(taken.manifest.label))
    finally:
        path.write_bytes(whole)
    engine.verify(taken.manifest.label)


def test_damage_there_is_told_by_a_restore_here(hosts: Hosts, taken: Taken, into: Path) -> None:
    engine = hosts.cluster.engine()
    stored = hosts.cluster.repository / "backup" / STANZA / taken.manifest.label
    bundle = max(stored.rglob("bundle/*"), key=lambda path: path.stat().st_size)
    for damaged in ([bundle], [stored / "backup.manifest", stored / "backup.manifest.copy"]):
        before = [path.read_bytes() for path in damaged]
        for path, whole in zip(damaged, before, strict=True):
            path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
        try:
            refused("damaged", lambda: engine.restore(taken.manifest, None, into))
        finally:
            for path, whole in zip(damaged, before, strict=True):
                path.write_bytes(whole)
    assert not into.exists()


def test_retention_forgets_there(hosts: Hosts, taken: Taken) -> None:
    engine, whole = hosts.cluster.engine(), taken.manifest.label
    for kind in ("incr", "diff"):  # neither builds on the other
        engine._program.run("backup", f"--type={kind}", "--no-expire-auto")
    first, later, newest = engine.info()
    assert (first, later[:17], newest[:17]) == (whole, f"{whole}_", f"{whole}_")
    engine.tidy([whole])
    assert engine.info() == [whole, newest]
    assert not (hosts.cluster.repository / "backup" / STANZA / later).exists()
    refused("refused", lambda: engine.expire(newest))


def test_a_host_key_that_is_not_the_known_one_stops_everything(hosts: Hosts, taken: Taken, into: Path) -> None:
    engine = hosts.cluster.engine()
    for known in (hosts.known_hosts("other_key"), ""):
        with hosts.with_file("known_hosts", known):
            assert "known_hosts" in refused("refused", lambda: engine._program.run("backup"))
            assert "known_hosts" in refused("refused", engine.info)
            assert "known_hosts" in refused("refused", lambda: engine.restore(taken.manifest, None, into))
    assert not into.exists()


def test_a_careless_configuration_of_ssh_opens_no_other_host(hosts: Hosts, taken: Taken) -> None:
    careless = f"{CLIENT.format(folder=hosts.folder)}StrictHostKeyChecking no\n"
    with hosts.with_file("ssh_config", careless), hosts.with_file("known_hosts", ""):
        assert "known_hosts" in refused("refused", lambda: hosts.cluster.engine()._program.run("backup"))


def test_a_host_that_lets_nobody_in_is_told(hosts: Hosts, taken: Taken) -> None:
    engine = hosts.cluster.engine()
    with hosts.with_file("authorized_keys", ""):
        assert "key" in refused("refused", lambda: engine._program.run("expire"))
        assert "Permission denied" in refused("refused", engine.info)


def test_a_host_that_does_not_answer_is_told(hosts: Hosts, taken: Taken, into: Path) -> None:
    gone = hosts.cluster.engine(hosts.cluster.config_with("gone.conf", f"repo1-host-port={hosts.port}", f"repo1-host-port={free_port()}"))
    words = [refused("tool", lambda command=command: gone._program.run(command)) for command in ("backup", "expire", "stanza-create")]  # type: ignore[misc]
    words += [refused("tool", gone.info), refused("tool", lambda: gone.restore(taken.manifest, None, into))]
    for told in words:
        assert told.startswith("The host cannot be reached by ssh"), told
        assert "Connection refused" in told
    assert not into.exists()


def test_a_host_that_goes_away_during_recovery_is_told(hosts: Hosts, taken: Taken, into: Path) -> None:
    engine = hosts.cluster.engine()
    engine.restore(taken.manifest, None, into)
    with hosts.with_file("authorized_keys", ""), pytest.raises(BackupError, match="does not accept") as caught, engine.opened(into):
        raise AssertionError("it opened")
    assert caught.value.trouble == "refused"


def test_a_host_that_is_lost_while_it_copies_is_told(hosts: Hosts, taken: Taken) -> None:
    def copying() -> list[int]:
        return [pid for pid, words in marked(str(hosts.far)).items() if words.startswith("pgbackrest ") and "--type=full" in words]

    def lose() -> None:
        (far,) = eventually(copying, within_s=60)
        session = int(re.findall(r"^PPid:\t(\d+)$", Path(f"/proc/{far}/status").read_text(), re.MULTILINE)[0])
        assert Path(f"/proc/{session}/cmdline").read_bytes().startswith(b"sshd")
        os.kill(session, signal.SIGKILL)
        os.kill(far, signal.SIGTERM)

    losing = threading.Thread(target=lose)
    losing.start()
    told = refused("tool", lambda: hosts.cluster.engine()._program.run("backup", "--type=full", "--no-expire-auto"))
    losing.join(60)
    assert "lost on the way" in told
    with contextlib.suppress(AssertionError):
        eventually(lambda: not copying(), within_s=20)
    for pid in copying():  # once in a while it waits for the session that was taken from it
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not copying(), within_s=20)
    assert hosts.cluster.engine().info()[0] == taken.manifest.label


def test_a_host_that_cannot_dial_back_is_told(hosts: Hosts, taken: Taken) -> None:
    far = hosts.far.read_text()
    hosts.far.write_text(far.replace(f"pg1-host-port={hosts.port}", f"pg1-host-port={free_port()}"))
    try:
        told = refused("tool", lambda: hosts.cluster.engine().take(hosts.cluster.folder, now=lambda: NOW, full=True))
    finally:
        hosts.far.write_text(far)
    assert told.startswith("The host cannot be reached by ssh")


def test_a_host_without_pgbackrest_is_told(hosts: Hosts, taken: Taken) -> None:
    bare = hosts.cluster.config_with("bare.conf", "repo1-host-config", "repo1-host-cmd=/nowhere/pgbackrest\nrepo1-host-config")
    assert "repo1-host-cmd" in refused("tool", lambda: hosts.cluster.engine(bare)._program.run("backup"))
    assert "repo1-host-cmd" in refused("tool", hosts.cluster.engine(bare).info)


def test_what_pgbackrest_itself_says_there_keeps_its_meaning(hosts: Hosts, taken: Taken) -> None:
    stop = ["pgbackrest", f"--config={hosts.far}", f"--stanza={STANZA}"]
    subprocess.run([*stop, "stop"], check=True, cwd="/", **as_user())  # type: ignore[call-overload]
    try:
        assert "pgbackrest stop" in refused("refused", lambda: hosts.cluster.engine()._program.run("backup"))
    finally:
        subprocess.run([*stop, "start"], check=True, cwd="/", **as_user())  # type: ignore[call-overload]


def test_the_passphrase_may_stand_there_alone_and_one_that_does_not_fit_is_told(hosts: Hosts, taken: Taken) -> None:
    cipher = f"repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={PASSPHRASE}\n"
    alone = hosts.cluster.engine(hosts.cluster.config_with("alone.conf", cipher, ""))
    assert taken.manifest.label in alone.info()
    other = hosts.cluster.engine(hosts.cluster.config_with("other.conf", PASSPHRASE, "another"))
    assert "passphrase" in refused("tool", other.info)  # 2.45 crashes
    far = hosts.far.read_text()
    hosts.far.write_text(far.replace(PASSPHRASE, "another"))
    try:
        refused("wrong key", lambda: hosts.cluster.engine()._program.run("backup"))
    finally:
        hosts.far.write_text(far)


def named(**options: str) -> RepositoryHost | None:
    return RepositoryHost.named(lambda name, otherwise: options.get(name.replace("-", "_"), otherwise))


def test_the_host_is_what_the_configuration_says() -> None:
    assert named(repo1_path="/r") is None
    plain = named(repo1_host="h.example")
    assert plain is not None
    assert (plain.user, plain.port, plain.ssh, plain.program, plain.config) == ("pgbackrest", "", "ssh", "pgbackrest", ())
    words = plain.there(["pgbackrest", "--set=a b", "$(reboot)"])
    assert words[-4:] == ("pgbackrest", "--", "h.example", "pgbackrest '--set=a b' '$(reboot)'")
    assert "-p" not in words
    full = named(repo1_host="-oProxyCommand=reboot", repo1_host_port="2222", repo1_host_config_path="/c", cmd_ssh="/opt/ssh")
    assert full is not None
    assert full.config == ("--config-path=/c",)
    assert full.there(["x"])[0] == "/opt/ssh"
    assert full.there(["x"])[-7:] == ("-p", "2222", "-l", "pgbackrest", "--", "-oProxyCommand=reboot", "x")
    assert "repo1-host-type=ssh" in refused("refused", lambda: named(repo1_host="h.example", repo1_host_type="tls"))
