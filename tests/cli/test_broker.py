import functools
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from cli import broker
from core.broker import answers
from tests.intime import in_time
from tests.processes import eventually


@contextmanager
def running(data: Path) -> Iterator[tuple[broker.Broker, subprocess.Popen[bytes]]]:
    own = broker.prepare(data)
    broker.make_way(own)
    process = subprocess.Popen(own.argv, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(own.url))
        yield own, process
    finally:
        process.kill()
        process.wait()
        broker.tidy(own)


def test_it_is_reached_by_a_private_socket_and_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path) as (own, _process):
        connection = redis.Redis.from_url(own.url)
        assert stat.S_IMODE(own.socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(own.socket.parent.stat().st_mode) == 0o700
        config = connection.config_get("*")
        assert (config["port"], config["appendonly"], config["appendfsync"], config["save"]) == ("0", "yes", "everysec", "")
        assert config["maxmemory-policy"] == "noeviction"
        connection.close()


def test_what_it_took_survives_its_kill(tmp_path: Path) -> None:
    with running(tmp_path) as (own, process):
        connection = redis.Redis.from_url(own.url)
        connection.rpush("rq:queue:now", "a", "b")
        connection.close()
        process.kill()
        process.wait()
    with running(tmp_path) as (own, _process):
        connection = redis.Redis.from_url(own.url)
        assert connection.lrange("rq:queue:now", 0, -1) == [b"a", b"b"]
        connection.close()


def test_a_long_path_gets_a_private_folder_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 100)
    with running(data) as (own, _process):
        assert len(os.fsencode(own.socket)) <= broker.SOCKET_PATH_BYTES
        assert own.socket == broker.prepare(data).socket  # the same one after a restart
        assert stat.S_IMODE(own.socket.parent.stat().st_mode) == 0o700
        assert own.folder.is_relative_to(data)
    assert not own.socket.parent.exists()


@pytest.mark.parametrize("name", ["my data", "données"])
def test_a_path_that_redis_py_cannot_read_gets_a_folder_elsewhere(tmp_path: Path, name: str) -> None:
    with running(tmp_path / name) as (own, _process):
        connection = redis.Redis.from_url(own.url)
        assert [client["flags"] for client in connection.client_list()] == ["U"]  # what the workers count themselves by
        connection.close()
        assert own.folder == tmp_path / name / "broker"
        assert not own.socket.is_relative_to(tmp_path)


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir(mode=0o755)
    assert stat.S_IMODE(broker.prepare(tmp_path).folder.stat().st_mode) == 0o700


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / ("d" * 100)
    far = broker.prepare(data).socket.parent
    far.rmdir()
    far.symlink_to(tmp_path)
    with pytest.raises(broker.BrokerError, match="not a folder of yours"):
        broker.prepare(data)
    far.unlink()


def test_a_socket_left_behind_is_cleared_and_one_in_use_is_not(tmp_path: Path) -> None:
    own = broker.prepare(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(own.socket))
    broker.make_way(own)
    assert not own.socket.exists()
    with running(tmp_path) as (live, _process), pytest.raises(broker.BrokerError, match="Another broker answers"):
        broker.make_way(live, patience_s=0.1)


def test_a_probe_of_nothing_answers_at_once(tmp_path: Path) -> None:
    for nobody in (f"unix://{tmp_path}/nobody.sock", "redis://127.0.0.1:1/0", ""):
        assert in_time(functools.partial(answers, nobody), 0.5) is False
